//! Uses every port, but those that would end it: 1, 2 and 4 bytes and string instructions, both
//! ways, on each.
//@ ring: 0
//@ timeout: 60s
//@ expect: exit=0 exits.in>=262000 exits.out>=262000

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, abi, println};

guest::entry!(main);

/// These end the run (a call that nobody answers does), wait for input, or print.
const SKIPPED: [u16; 5] =
    [abi::port::EXIT, abi::port::PANIC, abi::port::CALL, abi::port::INPUT, abi::port::CONSOLE];

fn main(_: &Boot) {
    let mut answered = 0;
    for number in (0..=u16::MAX).filter(|number| !SKIPPED.contains(number)) {
        answered += u32::from(!reads_all_ones(number));
        write(number);
    }
    println!("{answered} ports answered");
}

/// Reads 4, 2 and 1 bytes, and 4 bytes more by a string instruction.
fn reads_all_ones(number: u16) -> bool {
    let mut data = 0u32;
    let (four, two, one): (u32, u32, u32);
    // SAFETY: the string instruction writes the 4 bytes of `data`.
    unsafe {
        asm!(
            "in eax, dx", "mov {four:e}, eax", "in ax, dx", "mov {two:e}, eax",
            "in al, dx", "mov {one:e}, eax", "mov ecx, 1", "rep insd",
            in("dx") number, inout("rdi") &raw mut data => _,
            four = out(reg) four, two = out(reg) two, one = out(reg) one,
            out("rcx") _, out("eax") _,
        );
    }
    four & two & one & data == u32::MAX
}

/// Writes 4, 2 and 1 bytes, and 2 bytes more by a string instruction.
fn write(number: u16) {
    let data = 0u16;
    // SAFETY: the string instruction reads the 2 bytes of `data`.
    unsafe {
        asm!(
            "out dx, eax", "out dx, ax", "out dx, al", "mov ecx, 1", "rep outsw",
            in("dx") number, in("eax") 0, inout("rsi") &raw const data => _, out("rcx") _,
        );
    }
}
