//! Calls a kernel that there is none of: for a processor of no vendor KVM does not know how.
//@ ring: 0
//@ stderr: KVM cannot emulate `sysenter`
//@ stderr: never reach this host
//@ expect: exit=126 end=emulation-failed

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("sysenter") };
    println!("after");
}
