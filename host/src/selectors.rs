//! The data segment selectors of the host's own thread.
//!
//! kvm_pvm runs a guest in ring 3 with the thread's DS, ES and GS, and leaves in the thread what the
//! guest loaded there; KVM_GET_SREGS and KVM_SET_SREGS know nothing of it (measured: a VM that was
//! restored, and another in the same thread, read what the one before had loaded). So they are made
//! null, as Linux starts each program, before a VM runs that is new or was restored. FS has to stay,
//! since the thread's own storage is found by it.

use std::arch::asm;

/// Makes them null where they are not.
pub(crate) fn clear() {
    let (ds, es, gs): (u16, u16, u16);
    // SAFETY: selectors are only read.
    unsafe {
        asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, gs", out(reg) ds, out(reg) es,
            out(reg) gs, options(nomem, nostack, preserves_flags));
    }
    if ds | es | gs == 0 {
        return;
    }
    // SAFETY: in 64-bit mode null is allowed in all three, and DS and ES have no effect (SDM vol. 1,
    // 3.4.2.1). Of GS, a selector other than null is a guest's, which has replaced its base already.
    unsafe {
        asm!("mov ds, {0:e}", "mov es, {0:e}", "mov gs, {0:e}", in(reg) 0,
            options(nostack, preserves_flags));
    }
}
