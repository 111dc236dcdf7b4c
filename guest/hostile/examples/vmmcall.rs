//! Calls a hypervisor by the instruction of AMD's processors.
//@ ring: 0
//@ stderr: never reach this host
//@ output: ignored
//@ expect: exit=139 end=exception

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("vmmcall", inout("rax") u64::MAX => _, options(nostack)) };
    println!("after");
}
