//! Takes NXE out of EFER, by which the no-execute bit of every page table entry would be a reserved
//! one. KVM lets a guest without CPUID write no EFER with long mode in it.
//@ ring: 0
//@ stderr: KVM does not let MSR 0xc0000080 be written
//@ expect: exit=139 end=exception

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe {
        asm!("rdmsr", "and eax, ~0x800", "wrmsr", "push rax",
            in("ecx") 0xc000_0080u32, out("eax") _, out("edx") _);
    }
    println!("after");
}
