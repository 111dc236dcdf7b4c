//! Has page tables of its own, and panics with a text that goes on outside RAM, and a file's name
//! at an address with reserved bits.
//@ ring: 0
//@ stderr: panicked: (message not readable)
//@ expect: exit=101 end=panicked

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_tables::{Own, RW};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    let tables = Own::load();
    let message = tables.map(0, 0x10_0000 | RW);
    tables.map(1, 0xfffb_d000 | RW);
    let file = tables.map(2, 1 << 46 | RW);
    // SAFETY: none: that the host bears it is the point.
    unsafe {
        asm!("out 0xf5, al", in("rdi") message + 0xff0, in("rsi") 32, in("rdx") file, in("rcx") 8);
    }
}
