//! Halts with interrupts off, and for ever.
//@ ring: 0
//@ timeout: 2s
//@ expect: exit=0 end=halted

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("cli", "2: hlt", "jmp 2b") };
}
