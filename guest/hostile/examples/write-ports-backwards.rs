//! Writes all memory to a port, backwards (RFLAGS.DF), down to the null page.
//@ expect: exit=139 end=exception
//@ stderr: null pointer + 0xff

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
            "std", "mov esi, 0x1100", "mov rcx, -1", "rep outsb", "out 0xf4, al",
            in("dx") 0x80,
        );
    }
}
