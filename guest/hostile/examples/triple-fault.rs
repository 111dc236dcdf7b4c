//! Takes away its own interrupt table, and then faults.
//@ ring: 0
//@ stderr: an interrupt table of its own: 0 gates
//@ expect: exit=139 end=triple-fault

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    let empty = [0u8; 10];
    // SAFETY: none: that the host catches it is the point.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &empty) };
}
