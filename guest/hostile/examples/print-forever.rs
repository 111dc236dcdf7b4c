//! Prints without an end.
//@ timeout: 300ms
//@ output: ignored
//@ expect: exit=124 end=limit-reached

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    loop {
        println!("All work and no play makes Jack a dull boy.");
    }
}
