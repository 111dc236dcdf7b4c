//! Calls a function pointer that is null, and is not told of code that is not there.
//@ expect: exit=139 end=exception rip=0
//@ stderr: jump to address 0x0: null pointer
//@ stderr: 0: 0x0
//@ stderr: --> guest/hostile/examples/null-function.rs

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host catches it is the point.
    unsafe { asm!("call {}", in(reg) core::ptr::null::<()>(), clobber_abi("C")) };
    println!("after");
}
