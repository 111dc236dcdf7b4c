//! Panics while a panic is formatted.
//@ expect: exit=101 end=panicked
//@ stderr: panicked while formatting a panic's message

#![no_std]
#![no_main]
#![expect(clippy::panic, reason = "that is the point")]

use core::fmt;
use guest::Boot;

guest::entry!(main);

struct Rude;

impl fmt::Display for Rude {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no")
    }
}

fn main(_: &Boot) {
    panic!("{Rude}");
}
