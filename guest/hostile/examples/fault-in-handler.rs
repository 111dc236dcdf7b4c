//! Handles page faults itself, with a handler that faults: until the stack is used up, and the
//! fault can no longer be delivered.
//@ ring: 0
//@ expect: exit=139 end=exception
//@ stderr: double fault (#DF)
//@ stderr: at the bottom of the stack

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use guest::{Boot, println};

guest::entry!(main);

#[unsafe(naked)]
extern "C" fn page_fault() {
    naked_asm!("mov rax, [0x18]")
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

fn main(_: &Boot) {
    println!("before");
    let mut hosts = Pointer { limit: 0, base: 0 };
    let mut gates = [[0u64; 2]; 32];
    // SAFETY: SIDT writes the 10 bytes of a pointer.
    unsafe { asm!("sidt [{}]", in(reg) &raw mut hosts) };
    // SAFETY: the host's table has 32 gates.
    unsafe { core::ptr::copy_nonoverlapping(hosts.base as *const _, gates.as_mut_ptr(), 32) };
    let handler = page_fault as *const () as u64;
    gates[14] = [handler & 0xffff | 0x8e00_0010_0000 | handler >> 16 << 48, handler >> 32];
    let pointer = Pointer { limit: 32 * 16 - 1, base: gates.as_ptr().addr() as u64 };
    // SAFETY: none: that the host catches it is the point.
    unsafe { asm!("lidt [{}]", "mov rax, [0x18]", in(reg) &raw const pointer) };
}
