//! Where the time goes, by pieces that the guest names itself: `--emit trace=FILE` shows them beside
//! its exits and calls. Without it they cost one exit in all.
//@ expect: exit=0

#![no_std]
#![no_main]

use guest::abi::{host, span};
use guest::{Boot, println};

guest::entry!(main, calls = [span, host]);

fn main(_: &Boot) {
    let _all = guest::span!("all");
    let words = guest::span!("split", { split("the quick brown fox jumps") });
    for word in words {
        let _word = guest::span!(word);
        println!("{word}: {}", guest::span!("sum", { sum(word) }));
    }
    host::Client(guest::Out).annotate("words", "5");
}

fn split(text: &str) -> [&str; 5] {
    let mut words = text.split(' ');
    [(); 5].map(|()| words.next().unwrap_or_default())
}

#[inline(never)]
fn sum(word: &str) -> u32 {
    word.bytes().map(u32::from).sum()
}
