//! Handles page faults itself and goes back to what faults, for ever; the stack is never used up.
//@ ring: 0
//@ timeout: 300ms
//@ expect: exit=124 end=limit-reached

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use guest::{Boot, println};
use hostile::own_idt::{Pointer, load_pointer};

guest::entry!(main);

#[unsafe(naked)]
extern "C" fn back() {
    naked_asm!("add rsp, 8", "iretq")
}

fn main(_: &Boot) {
    println!("before");
    let handler = back as *const () as u64;
    // SDM vol. 3, 7.14.1: code selector 0x10, no stack of its own, an interrupt gate.
    let low = handler & 0xffff | 0x8e00_0010_0000 | (handler >> 16 & 0xffff) << 48;
    let gates = [[low, handler >> 32]; 32];
    load_pointer(&Pointer { limit: 32 * 16 - 1, base: gates.as_ptr().addr() as u64 });
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("mov rax, [0x18]") };
}
