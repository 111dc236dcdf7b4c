//! Has page tables of its own, which map the host's stubs writable, and writes over one: the
//! exceptions were its own, and it has no others.
//@ ring: 0
//@ expect: exit=7 end=exited

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_tables::{Own, RW};

guest::entry!(main);

fn main(boot: &Boot) {
    println!("before");
    let tables = Own::load();
    // The stubs stand two pages in front of the boot block.
    let stubs = (boot.info().args.start & !0xfff) - 0x2000;
    let stub = (tables.map(0, stubs | RW) + 4 * 6) as *mut u32;
    // SAFETY: none: that the host bears it is the point. MOV AL, 7; OUT 0xf4, AL.
    unsafe { stub.write_volatile(u32::from_le_bytes([0xb0, 7, 0xe6, 0xf4])) };
    // SAFETY: as above.
    unsafe { asm!("ud2") };
}
