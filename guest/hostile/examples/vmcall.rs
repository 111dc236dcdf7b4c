//! Calls a hypervisor, but not this one. KVM would write the instruction of its own processor over
//! it, and the page is read-only.
//@ stderr: never reach this host
//@ expect: exit=139 end=exception

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("vmcall", inout("rax") u64::MAX => _, options(nostack)) };
    println!("after");
}
