//! A write that KVM turns into an eventfd's (KVM_IOEVENTFD): no exit to the host's user space.

use crate::mmio::store;
use calls::ways::PORT;
use core::arch::asm;
use guest::Boot;

pub(crate) fn pio(_: &Boot, samples: u32) {
    guest::measure("ioeventfd-pio", samples, || {
        // SAFETY: OUT changes no register, and the host no memory.
        unsafe { asm!("out dx, al", in("dx") PORT, in("al") 0u8) }
    });
}

pub(crate) fn mmio(_: &Boot, samples: u32) {
    guest::measure("ioeventfd-mmio", samples, || store(0));
}
