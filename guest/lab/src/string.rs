//! REP OUTSB and REP INSB: many bytes to or from a port by one instruction. On most KVMs that is an
//! exit a byte or so all the same.

use calls::ways::{BYTES, PORT};
use core::arch::asm;
use guest::Boot;

pub(crate) fn outs(_: &Boot, samples: u32) {
    let mut bytes = [0; BYTES];
    bytes.iter_mut().zip(0..).for_each(|(byte, value): (&mut u8, u8)| *byte = value);
    guest::measure("outs", samples, || {
        // SAFETY: it reads as many bytes as RCX says from where RSI points.
        unsafe {
            asm!("rep outsb", in("dx") PORT, inout("rsi") bytes.as_ptr() => _,
                inout("rcx") BYTES => _);
        }
    });
}

pub(crate) fn ins(_: &Boot, samples: u32) {
    let mut bytes = [0xff; BYTES];
    let to = bytes.as_mut_ptr();
    let read = || {
        // SAFETY: it writes as many bytes as RCX says to where RDI points.
        unsafe { asm!("rep insb", in("dx") PORT, inout("rdi") to => _, inout("rcx") BYTES => _) }
    };
    read();
    // SAFETY: it is the array, which only `read` uses beside this.
    let first = unsafe { to.cast::<[u8; BYTES]>().read() };
    assert!(first.iter().zip(0..).all(|(it, i)| *it == i), "INS got {first:?}");
    guest::measure("ins", samples, read);
}
