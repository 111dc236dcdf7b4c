//! Loads a task of its own, whose stacks for interrupts lie nowhere: no fault can be delivered.
//@ ring: 0
//@ stderr: the guest has loaded a task state segment of its own
//@ expect: exit=139 end=triple-fault

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::Pointer;

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // All stacks end where no address is (SDM vol. 3, 9.7).
    let task = [0x8000_7fffu32; 26];
    let base = task.as_ptr().addr() as u64;
    // Code and data where the host has them; a task, not busy (SDM vol. 3, 9.2.3).
    let low = 0x67 | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24) << 56;
    let table = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, low, 0];
    let pointer = Pointer { limit: 6 * 8 - 1, base: table.as_ptr().addr() as u64 };
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("lgdt [{}]", "ltr {:x}", "ud2", in(reg) &raw const pointer, in(reg) 0x20) };
}
