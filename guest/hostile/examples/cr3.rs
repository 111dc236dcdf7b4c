//! Points CR3 outside memory.
//@ ring: 0
//@ stderr: CR3 0x800000000, which is not RAM
//@ expect: exit=139 end=triple-fault

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("mov cr3, {}", "nop", in(reg) 0x8_0000_0000u64) };
    println!("after");
}
