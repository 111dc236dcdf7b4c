//! Reads a port into all memory, from its stack on: up to where that ends, and no further.
//@ expect: exit=139 end=exception
//@ stderr: nothing is mapped there; RAM ends at

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe {
        asm!(
            "mov rdi, rsp", "and rdi, -4", "mov rcx, -1", "rep insd", "out 0xf4, al",
            in("dx") 0x80,
        );
    }
}
