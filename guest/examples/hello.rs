//! The smallest guest: it prints, and returns.
//@ expect: exit=0

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("Hello from a guest!");
}
