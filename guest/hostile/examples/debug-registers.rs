//! Puts breakpoints on its own stack and on the handler of debug exceptions, and guards the debug
//! registers themselves (DR7.GD); and goes on.
//@ ring: 0

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::{self, attempt, pointer};

guest::entry!(main);

fn main(_: &Boot) {
    own_idt::load();
    // The handlers lie below 4 GiB.
    let gate = (pointer().base + 16) as *const u64;
    // SAFETY: the table is ours.
    let gate = unsafe { gate.read_volatile() };
    let handler = gate & 0xffff | gate >> 48 << 16;
    let stack = (&raw const handler).addr() as u64;
    for control in [0, u64::MAX, 0xffff_0400 | 0xff, 1 << 13 | 0x400, 0xffff_27ff] {
        for address in [stack, main as *const () as u64, handler, 1 << 47, u64::MAX] {
            attempt(|| {
                // SAFETY: none: that the host bears it is the point.
                unsafe {
                    asm!(
                        "mov dr0, {0}", "mov dr1, {0}", "mov dr2, {0}", "mov dr3, {0}",
                        "mov dr6, {1}", "mov dr7, {1}", "push rax", "pop rax", "mov {1}, dr7",
                        in(reg) address, inout(reg) control => _,
                    );
                }
            });
            attempt(|| {
                // SAFETY: as above.
                unsafe { asm!("mov dr7, {}", in(reg) 0x400u64) }
            });
        }
    }
    println!("went on");
}
