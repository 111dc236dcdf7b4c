//! An access to an address where there is no memory, for which KVM comes back to the host
//! (KVM_EXIT_MMIO) once it has decoded the instruction.

use calls::ways::{CHECKED, WINDOW};
use core::arch::asm;
use guest::Boot;

pub(crate) fn read(_: &Boot, samples: u32) {
    for given in 0..CHECKED {
        let got = load();
        assert!(u32::from(given) == got, "the guest read {got} where the host gave {given}");
    }
    guest::measure("mmio-read", samples, || {
        load();
    });
}

pub(crate) fn write(_: &Boot, samples: u32) {
    (0..CHECKED).map(u32::from).for_each(store);
    guest::measure("mmio-write", samples, || store(0));
}

#[inline(always)]
fn load() -> u32 {
    let value;
    // SAFETY: the host has a window there, in which nothing is a reference's.
    unsafe { asm!("mov {:e}, [{}]", out(reg) value, in(reg) WINDOW) }
    value
}

#[inline(always)]
pub(crate) fn store(value: u32) {
    // SAFETY: as above.
    unsafe { asm!("mov [{}], {:e}", in(reg) WINDOW, in(reg) value) }
}
