//! Writes over its own code in ring 3, whose pages are read-only.
//@ ring: 3
//@ stderr: write to a read-only page
//@ expect: exit=139 end=exception

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host catches it is the point.
    unsafe { asm!("mov byte ptr [rip + 2f], 0xcc", "2: nop") };
    println!("after");
}
