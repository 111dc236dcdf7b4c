//! Forges an exception: a frame of wild claims on the host's stack for exceptions, and a jump into
//! the stub of page faults. The host takes the claims for no more than that.
//@ ring: 0
//@ stderr: page fault (#PF)
//@ expect: exit=139 end=exception

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
        asm!(
            "mov rsp, {stack}", "push -1", "push {wild}", "push -1", "push -1", "push {wild}",
            "push -1", "jmp {stub}",
            stack = in(reg) boot_block, wild = in(reg) 1u64 << 47,
            stub = in(reg) boot_block - 0x2000 + 4 * 14,
        );
    }
}
