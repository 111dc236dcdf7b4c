//! Loads an interrupt table where nothing is mapped, and faults.
//@ ring: 0
//@ expect: exit=139 end=triple-fault

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::{Pointer, load_pointer};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    load_pointer(&Pointer { limit: u16::MAX, base: 0x7fff_ffff_0000 });
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("ud2") };
}
