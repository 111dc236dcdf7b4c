//! Panics with addresses that lead nowhere.
//@ expect: exit=101 end=panicked
//@ stderr: panicked: (message not readable)

#![no_std]
#![no_main]

use core::arch::asm;
use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    // SAFETY: the host reads what the registers name, or says that it cannot.
    unsafe {
        asm!(
            "out 0xf5, al",
            in("rdi") u64::MAX - 8, in("rsi") u64::MAX,
            in("rdx") 0xffff_8000_0000_0000u64, in("rcx") 1u64 << 40,
        );
    }
}
