//! OUT: a value to a port, for which KVM comes back to the host (KVM_EXIT_IO).

use calls::ways::{CHECKED, PORT};
use core::arch::asm;
use guest::Boot;

pub(crate) fn one(_: &Boot, samples: u32) {
    (0..CHECKED).for_each(byte);
    guest::measure("out-1", samples, || byte(0));
}

pub(crate) fn two(_: &Boot, samples: u32) {
    (0..CHECKED).map(u16::from).for_each(word);
    guest::measure("out-2", samples, || word(0));
}

pub(crate) fn four(_: &Boot, samples: u32) {
    (0..CHECKED).map(u32::from).for_each(double_word);
    guest::measure("out-4", samples, || double_word(0));
}

#[inline(always)]
fn byte(value: u8) {
    // SAFETY: OUT changes no register, and the host no memory.
    unsafe { asm!("out dx, al", in("dx") PORT, in("al") value) }
}

#[inline(always)]
fn word(value: u16) {
    // SAFETY: as above.
    unsafe { asm!("out dx, ax", in("dx") PORT, in("ax") value) }
}

#[inline(always)]
fn double_word(value: u32) {
    // SAFETY: as above.
    unsafe { asm!("out dx, eax", in("dx") PORT, in("eax") value) }
}
