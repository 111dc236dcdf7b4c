//! IN: a value from a port, which a handler of the host's gives. It counts.

use calls::ways::{CHECKED, PORT};
use core::arch::asm;
use guest::Boot;

pub(crate) fn one(_: &Boot, samples: u32) {
    (0..CHECKED).for_each(|count| check(count, byte().into()));
    guest::measure("in-1", samples, || {
        byte();
    });
}

pub(crate) fn two(_: &Boot, samples: u32) {
    (0..CHECKED).for_each(|count| check(count, word().into()));
    guest::measure("in-2", samples, || {
        word();
    });
}

pub(crate) fn four(_: &Boot, samples: u32) {
    (0..CHECKED).for_each(|count| check(count, double_word()));
    guest::measure("in-4", samples, || {
        double_word();
    });
}

fn check(given: u8, got: u32) {
    assert!(u32::from(given) == got, "IN got {got} where the host gave {given}");
}

#[inline(always)]
fn byte() -> u8 {
    let value;
    // SAFETY: IN changes no register but this one, and the host no memory.
    unsafe { asm!("in al, dx", in("dx") PORT, out("al") value) }
    value
}

#[inline(always)]
fn word() -> u16 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in ax, dx", in("dx") PORT, out("ax") value) }
    value
}

#[inline(always)]
fn double_word() -> u32 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") PORT, out("eax") value) }
    value
}
