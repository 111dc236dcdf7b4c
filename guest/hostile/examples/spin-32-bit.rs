//! Leaves 64-bit mode, and spins in 32 bits without paging.
//@ ring: 0
//@ timeout: 300ms
//@ stderr: the guest has left 64-bit mode for 32-bit code without paging
//@ stderr: : inc eax
//@ expect: exit=124 end=limit-reached

#![no_std]
#![no_main]

use core::arch::naked_asm;
use guest::{Boot, println};
use hostile::own_idt::Pointer;

guest::entry!(main);

/// Nothing, and flat code and data of 32 bits (SDM vol. 3, 3.4.5).
static GDT: [u64; 3] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

fn main(_: &Boot) {
    println!("before");
    let limit = 3 * 8 - 1;
    leave(&Pointer { limit, base: (&raw const GDT).addr() as u64 });
}

#[unsafe(naked)]
extern "C" fn leave(_: &Pointer) {
    naked_asm!(
        "lgdt [rdi]",
        "push 8",
        "lea rax, [rip + 2f]",
        "push rax",
        "retfq", // into compatibility mode
        ".code32",
        "2: mov eax, 16",
        "mov ds, eax",
        "mov ss, eax",
        "mov eax, cr0",
        "and eax, 0x7fffffff",
        "mov cr0, eax", // paging off, and long mode with it
        "mov ecx, 0xc0000080",
        "xor eax, eax",
        "xor edx, edx",
        "wrmsr",
        "3: .fill 4096, 1, 0x40", // inc eax; in 64-bit mode a prefix
        "jmp 3b",
        ".code64",
    )
}
