//! Loads descriptor tables, task registers and segments of nonsense, returns and jumps to what is
//! no code segment, and goes on.
//@ ring: 0

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::{self, Pointer, attempt};

guest::entry!(main);

fn main(_: &Boot) {
    own_idt::load();
    // Not 0: an emulated kvm_amd takes LTR of it, and its QEMU then aborts.
    for selector in [8u16, 0x10, 0x18, 0x20, 0x40, 0xfff0] {
        let ltr = attempt(|| {
            // SAFETY: none: that the host bears it is the point.
            unsafe { asm!("ltr {:x}", in(reg) selector) }
        });
        let lldt = attempt(|| {
            // SAFETY: as above.
            unsafe { asm!("lldt {:x}", in(reg) selector) }
        });
        let ss = attempt(|| {
            // SAFETY: as above.
            unsafe { asm!("mov ss, {:x}", "mov ss, {:x}", in(reg) selector, in(reg) 0x18) }
        });
        let far_return = attempt(|| {
            // SAFETY: as above.
            unsafe {
                asm!("push {}", "lea {1}, [rip + 2f]", "push {1}", "retfq", "2:",
                    in(reg) u64::from(selector), out(reg) _);
            }
        });
        println!("{selector:#x}: ltr {ltr}, lldt {lldt}, ss {ss}, retf {far_return}");
    }
    let away = &Pointer { limit: u16::MAX, base: 0x7fff_ffff_f000 };
    let hosts = &mut Pointer::default();
    let lgdt = attempt(|| {
        // SAFETY: as above.
        unsafe {
            asm!("sgdt [{1}]", "lgdt [{0}]", "lgdt [{1}]", in(reg) away, in(reg) &raw mut *hosts);
        }
    });
    println!("lgdt: {lgdt}");
}
