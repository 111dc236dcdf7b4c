//! Jumps into a stub with a stack at the very end of the host's own, where half a frame is.
//@ ring: 0
//@ options: --limit exits=1000
//@ expect: exit=122 end=limit-reached

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(boot: &Boot) {
    println!("before");
    let boot_block = boot.info().args.start & !0xfff;
    // SAFETY: none: that the host bears it is the point.
    unsafe {
        asm!("mov rsp, {}", "jmp {}", in(reg) boot_block, in(reg) boot_block - 0x2000 + 4 * 14);
    }
}
