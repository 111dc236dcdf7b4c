//! VMCALL, the hypercall that KVM keeps for itself: it never reaches the host's user space.

use core::arch::asm;
use guest::Boot;

pub(crate) fn vmcall(_: &Boot, samples: u32) {
    if ring() == 0 {
        // On a processor that has another instruction for it, KVM writes that over this one.
        allow_writes_to_code();
    }
    guest::measure("vmcall", samples, || {
        // The number is one that KVM has none of, so the answer is -ENOSYS, or -EPERM in ring 3.
        // SAFETY: KVM changes RAX alone.
        unsafe {
            asm!("vmcall", inout("rax") 0xffffu64 => _, in("rcx") 0, in("rdx") 0, in("rsi") 0,
                in("rdi") 0);
        }
    });
}

/// The ring that this is.
fn ring() -> u16 {
    let cs: u16;
    // SAFETY: a selector is only read.
    unsafe { asm!("mov {:x}, cs", out(reg) cs) };
    cs & 3
}

/// Clears CR0.WP: to ring 0 all pages are writable then.
fn allow_writes_to_code() {
    // SAFETY: nothing here writes to what is mapped read-only.
    unsafe { asm!("mov {0}, cr0", "and {0}, ~0x10000", "mov cr0, {0}", out(reg) _) };
}
