//! A counter with its state on the host: a call of numbers is one exit.
//@ expect: exit=0 exits.port[0xf7]=3

#![no_std]
#![no_main]

use calls::counter;
use guest::{Boot, println};

guest::entry!(main, calls = [counter]);

fn main(_: &Boot) {
    let mut counter = counter::Client(guest::Out);
    for amount in [1, 10, 100] {
        println!("{}", counter.add(amount));
    }
}
