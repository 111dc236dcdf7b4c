//! Makes a call that has no meaning, with all ones in every register.
//@ stderr: call refused: call 0xffffffff
//@ expect: exit=123 end=call-refused

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
            "mov rdi, rax", "mov rsi, rax", "mov rdx, rax", "mov rcx, rax", "mov r8, rax",
            "mov r9, rax", "mov r10, rax", "mov r11, rax", "mov rbp, rax", "out 0xf7, eax",
            in("rax") u64::MAX,
        );
    }
}
