//! Writes that KVM keeps in a ring (KVM_REGISTER_COALESCED_MMIO): an exit to the host's user space
//! only where that is full.

use crate::mmio::store;
use calls::ways::{CHECKED, PORT};
use core::arch::asm;
use guest::Boot;

pub(crate) fn pio(_: &Boot, samples: u32) {
    (0..CHECKED).map(u32::from).for_each(out);
    guest::measure("coalesced-pio", samples, || out(0));
}

pub(crate) fn mmio(_: &Boot, samples: u32) {
    (0..CHECKED).map(u32::from).for_each(store);
    guest::measure("coalesced-mmio", samples, || store(0));
}

#[inline(always)]
fn out(value: u32) {
    // SAFETY: OUT changes no register, and the host no memory.
    unsafe { asm!("out dx, eax", in("dx") PORT, in("eax") value) }
}
