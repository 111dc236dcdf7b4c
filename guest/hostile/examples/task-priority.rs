//! Raises and lowers its task priority (CR8), of which KVM tells the host where there is no
//! interrupt controller.
//@ ring: 0

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    for priority in [15u64, 0, 9, 3, 0] {
        // SAFETY: there are no interrupts.
        unsafe { asm!("mov cr8, {}", in(reg) priority) };
    }
    println!("after");
}
