//! Returns and jumps to addresses and stacks that are none, with IRETQ and flags of nonsense too,
//! and goes on.
//@ ring: 0

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::{self, attempt};

guest::entry!(main);

const WILD: [u64; 6] = [0, 0xfff, 0x7fff_ffff_ffff, 1 << 47, 0xffff_8000_0000_1000, u64::MAX];

fn main(_: &Boot) {
    own_idt::load();
    for address in WILD {
        let jump = attempt(|| {
            // SAFETY: none: that the host bears it is the point.
            unsafe { asm!("jmp {}", in(reg) address) }
        });
        let stack = attempt(|| {
            // SAFETY: as above.
            unsafe { asm!("mov rsp, {}", "push 0", in(reg) address) }
        });
        println!("{address:#x}: jmp {jump}, push {stack}");
    }
    for (what, code, flags, stack, data) in [
        ("no code", 0, 2, 0x1000, 0x18),
        ("ring 1", 0x11, 2, 0x1000, 0x19),
        ("ring 3 on the stack of ring 0", 0x33, 2, 0x1000, 0x18),
        ("ring 0 on the stack of ring 3", 0x10, 2, 0x1000, 0x2b),
        ("outside the table", 0xfff8, 2, 0x1000, 0x18),
    ] {
        let raised = attempt(|| {
            // SAFETY: as above.
            unsafe {
                asm!("push {:r}", "push {:r}", "push {:r}", "push {:r}", "push 0", "iretq",
                    in(reg) data, in(reg) stack, in(reg) flags, in(reg) code);
            }
        });
        println!("iretq, {what}: {raised}");
    }
    let virtual_8086 = attempt(|| {
        // SAFETY: as above.
        unsafe { asm!("push 0x1f7fd7", "push 0x18", "popfq", "pop rax", "popfq", out("rax") _) }
    });
    println!("popfq: {virtual_8086}");
}
