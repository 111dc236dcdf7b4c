//! Single-steps itself, which no one has asked for.
//@ stderr: debug exception (#DB)
//@ expect: exit=139 end=exception

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host catches it is the point.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop") };
    println!("after");
}
