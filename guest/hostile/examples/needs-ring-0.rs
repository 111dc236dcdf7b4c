//! Wants to write a control register in ring 3, and is told by name that this needs ring 0.
//@ ring: 3
//@ stderr: general protection fault (#GP): `mov cr0, rax` needs ring 0
//@ stderr: run the guest without --ring 3
//@ expect: exit=139 end=exception

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host catches it is the point.
    unsafe { asm!("mov cr0, rax", in("rax") 0) };
    println!("after");
}
