//! Spins with interrupts off.
//@ ring: 0
//@ timeout: 300ms
//@ expect: exit=124 end=limit-reached

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("cli", "2: jmp 2b") };
}
