//! Panics with texts that are longer than all memory, at a line and column beyond any file: they
//! are cut.
//@ expect: exit=101 end=panicked

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
            "out 0xf5, al",
            in("rdi") 0x10_0000, in("rsi") u64::MAX, in("rdx") 0x10_0001, in("rcx") u64::MAX,
            in("r8") u64::MAX, in("r9") u64::MAX,
        );
    }
}
