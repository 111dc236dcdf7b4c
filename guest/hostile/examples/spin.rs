//! Never makes an exit.
//@ timeout: 300ms
//@ stderr: main (inlined)
//@ expect: exit=124 end=limit-reached

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    loop {
        core::hint::spin_loop();
    }
}
