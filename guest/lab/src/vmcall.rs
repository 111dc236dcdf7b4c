//! VMCALL, the hypercall that KVM keeps for itself: it never reaches the host's user space.

use core::arch::asm;
use guest::Boot;

pub(crate) fn vmcall(_: &Boot, samples: u32) {
    guest::measure("vmcall", samples, || {
        let result: u64;
        // The number is one that KVM has none of, so the answer is -ENOSYS, or -EPERM in ring 3.
        // SAFETY: KVM changes RAX alone.
        unsafe {
            asm!("vmcall", inout("rax") 0xffffu64 => result, in("rcx") 0, in("rdx") 0, in("rsi") 0,
                in("rdi") 0);
        }
        result
    });
}
