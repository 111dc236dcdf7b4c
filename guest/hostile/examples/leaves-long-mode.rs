//! Leaves 64-bit mode: by a table of its own into a 32-bit segment, and from there paging and long
//! mode off. Panics there, with addresses that the host looks up all the same.
//@ ring: 0
//@ stderr: the guest has left 64-bit mode for 32-bit code without paging
//@ expect: exit=101 end=panicked

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
        "mov edi, 0x100000",
        "mov esi, 16",
        "mov edx, 0xffffff00",
        "mov ecx, 0x1000",
        "out 0xf5, al",
        "3: jmp 3b",
        ".code64",
    )
}
