//! Reads an address that is not canonical, with a stack pointer that is not either.
//@ expect: exit=139 end=exception rsp=0x8000000000000000
//@ stderr: (#GP): address 0x8000000000000000 is not canonical

#![no_std]
#![no_main]

use core::arch::asm;
use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    // SAFETY: none: that the host catches it is the point.
    unsafe {
        asm!("mov rsp, {bad}", "mov rax, [{bad}]", bad = in(reg) 1u64 << 63, options(noreturn))
    };
}
