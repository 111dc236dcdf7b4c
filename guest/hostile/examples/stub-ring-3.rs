//! Jumps into a stub of the host's in ring 3, which may not even read there.
//@ ring: 3
//@ stderr: which ring 3 may not touch
//@ expect: exit=139 end=exception

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(boot: &Boot) {
    println!("before");
    let stub = (boot.info().args.start & !0xfff) - 0x2000;
    // SAFETY: none: that the host catches it is the point.
    unsafe { asm!("jmp {}", in(reg) stub) };
}
