//! Executes an instruction that there is not.
//@ expect: exit=139 end=exception
//@ stderr: invalid opcode (#UD): UD2

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: UD2 raises an exception and does nothing else.
    unsafe { asm!("ud2") };
}
