//! Takes interrupts off in ring 3, where kvm_pvm does not allow it.
//@ ring: 3
//@ stderr: `cli` needs ring 0
//@ expect: exit=139 end=exception

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
