//! A division by zero, survived.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use guest::{Boot, println};

guest::entry!(main);

static mut IDT: [[u64; 2]; 32] = [[0; 2]; 32];

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

fn main(_: &Boot) {
    load_idt();
    // SAFETY: DIV raises an exception, which `divide_error` handles; EAX and EDX are given up.
    unsafe { asm!("div ecx", in("ecx") 0, inout("eax") 7 => _, inout("edx") 0 => _) };
    println!("still here");
}

/// Goes on behind the DIV, which has 2 bytes.
#[unsafe(naked)]
extern "C" fn divide_error() {
    naked_asm!("add qword ptr [rsp], 2", "iretq")
}

/// A table with a gate for vector 0 alone.
fn load_idt() {
    let table = &raw mut IDT;
    let handler = divide_error as *const () as u64;
    // SDM vol. 3, 7.14.1: code selector 0x10, no stack of its own, an interrupt gate.
    let low = handler & 0xffff | 0x10 << 16 | 0x8e << 40 | (handler >> 16 & 0xffff) << 48;
    // SAFETY: nothing else touches the table.
    unsafe { (*table)[0] = [low, handler >> 32] };
    let pointer = Pointer { limit: 32 * 16 - 1, base: table.addr() as u64 };
    // SAFETY: the table is complete and lives as long as the guest.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer) };
}
