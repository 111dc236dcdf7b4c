//! Prints by string instructions of as much as there is memory for.
//@ options: --limit console=8KiB
//@ output: ignored
//@ expect: exit=122 end=limit-reached

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
            "2: mov esi, 0x100000", "mov ecx, 0x1000", "rep outsb", "jmp 2b",
            in("dx") guest::abi::port::CONSOLE,
        );
    }
}
