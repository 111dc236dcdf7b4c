//! Divides by zero, behind the compiler's back.
//@ expect: exit=139 end=exception rax=7
//@ stderr: divide error (#DE): division by zero: ecx is 0

#![no_std]
#![no_main]

use core::arch::asm;
use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    // SAFETY: DIV changes the registers named, or raises an exception.
    unsafe { asm!("div ecx", inout("eax") 7 => _, inout("edx") 0 => _, in("ecx") 0) };
}
