//! Says that it measured what it did not, under a name that a terminal would obey, and begins again
//! before the end.
//@ stderr: [2Jforever is a part: 2 of 4294967295 samples
//@ stderr: not measured: this
//@ stderr: call refused: Lab::begin: a measurement has begun and not ended
//@ expect: exit=123 end=call-refused

#![no_std]
#![no_main]

use guest::abi::lab;
use guest::{Boot, println};

guest::entry!(main, calls = [lab]);

fn main(_: &Boot) {
    println!("before");
    let mut lab = lab::Client(guest::Out);
    for _ in 0..10_000 {
        lab.absent("this", "\x1b[2J");
    }
    for _ in 0..5000 {
        lab.begin("none", 1, 0, 0);
        lab.end();
    }
    lab.begin("\x1b[2Jforever", u32::MAX, u32::MAX, u32::MAX);
    lab.timer(&[0xff; 8]);
    lab.samples(&[0x80; 16]);
    lab.begin("again", 1, 1, 1);
}
