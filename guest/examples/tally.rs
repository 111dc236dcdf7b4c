//! Maps as argument and result: any serde type crosses, encoded.
//@ expect: exit=0

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::ToString;
use calls::tally::{self, Counts};
use guest::{Boot, println};

guest::entry!(main, calls = [tally]);

fn main(_: &Boot) {
    let mut space = [0; 1024];
    let mut tally = tally::Client(guest::OutWithSpace(&mut space));
    for line in ["a rose is a rose", "is it"] {
        let mut counts = Counts::new();
        for word in line.split(' ') {
            *counts.entry(word.to_string()).or_default() += 1;
        }
        println!("{:?}", *tally.add(counts.into()));
    }
}
