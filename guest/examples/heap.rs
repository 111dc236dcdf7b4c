//! A heap: the collections of `alloc`, on all RAM that is left.
//@ memory: 4MiB

#![no_std]
#![no_main]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use guest::{Boot, println};

guest::entry!(main);

fn main(boot: &Boot) {
    let squares: Vec<u64> = (1..=5).map(|n| n * n).collect();
    println!("{squares:?}");

    let mut lengths = BTreeMap::new();
    for word in "the quick brown fox jumps over the lazy dog".split(' ') {
        lengths.entry(word.len()).or_insert_with(Vec::new).push(word);
    }
    for (length, words) in &lengths {
        println!("{length}: {}", words.join(" "));
    }

    let text: String = ["format!", "and", "String"].map(|word| word.to_string()).join(" ");
    println!("{}", format!("{text:>20}").len());

    // Freed memory is used again: these come to more than there is.
    let block = usize::try_from(boot.heap().size() / 2).expect("64 bits");
    let sum: usize = (0..8).map(|_| vec![0u8; block].len()).sum();
    println!("more than the heap: {}", sum as u64 > boot.heap().size());

    // And too much at once is an error, not a fault.
    let too_much = Vec::<u8>::new().try_reserve(block * 3);
    println!("too much: {}", too_much.is_err());
}
