//! Asks KVM itself to write into its memory, by KVM's own registers: over the console window's
//! indices, the page tables and the boot information. It is its own memory, and no one else's.
//@ ring: 0
//@ output: ignored
//@ replay: no
//@ expect: exit=0 exits.port[0xe8]=36

#![no_std]
#![no_main]

use core::arch::asm;
use guest::Boot;
use hostile::own_idt::{self, attempt};
use hostile::own_tables::cr3;

guest::entry!(main);

/// KVM's wall clock and clock, old numbers and new, its page faults and its steal time (Linux,
/// Documentation/virt/kvm/x86/msr.rst).
const MSRS: [u32; 6] = [0x11, 0x12, 0x4b56_4d00, 0x4b56_4d01, 0x4b56_4d02, 0x4b56_4d03];

fn main(boot: &Boot) {
    own_idt::load();
    // The second half of the root table maps nothing, so this goes on.
    for address in [boot.info().console, cr3() + 0x800, boot.info().args.start & !0xfff] {
        for number in MSRS {
            for enable in [0, 1] {
                let value = address | enable;
                // One that this KVM does not have is refused.
                attempt(|| {
                    // SAFETY: none: that the host bears it is the point.
                    unsafe {
                        asm!("wrmsr", in("ecx") number, in("rax") value, in("rdx") value >> 32);
                    }
                });
                // KVM writes at the next entry.
                guest::console::flush();
            }
        }
    }
}
