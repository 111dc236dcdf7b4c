//! Writes to the exception port itself, and jumps into a stub: neither is an exception.
//@ timeout: 300ms
//@ ring: 0
//@ expect: exit=124 end=limit-reached

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, abi, port, println};

guest::entry!(main);

fn main(boot: &Boot) {
    port::write_u32(abi::port::EXCEPTION, 0);
    println!("went on");
    // The stubs stand two pages in front of the boot block.
    let stub = (boot.info().args.start & !0xfff) - 0x2000;
    // SAFETY: none: that the host bears it is the point. The stub only writes to its port.
    unsafe { asm!("jmp {}", in(reg) stub) };
}
