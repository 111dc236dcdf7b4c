//! Uses every port, but those that would end it: 1, 2 and 4 bytes, both ways, and string
//! instructions.
//@ expect: exit=0 exits.in>=32000 exits.out>=32000

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, abi, port, println};

guest::entry!(main);

/// These end the run, wait for input, or print.
const SKIPPED: [u16; 4] = [abi::port::EXIT, abi::port::PANIC, abi::port::INPUT, abi::port::CONSOLE];

fn main(_: &Boot) {
    let mut answered = 0;
    for number in (0..=u16::MAX).filter(|number| !SKIPPED.contains(number)) {
        // Each width in turn, so that it takes a second rather than six.
        match number % 6 {
            0 => answered += u32::from(port::read_u8(number) != u8::MAX),
            1 => answered += u32::from(port::read_u16(number) != u16::MAX),
            2 => answered += u32::from(port::read_u32(number) != u32::MAX),
            3 => port::write_u8(number, 1),
            4 => port::write_u16(number, 2),
            _ => port::write_u32(number, 3),
        }
        if number % 64 == 0 {
            strings(number);
        }
    }
    println!("{answered} ports answered");
}

fn strings(number: u16) {
    let mut data = [0u32; 16];
    let (to, from) = (data.as_mut_ptr(), data.as_ptr());
    // SAFETY: these stay inside `data`: 64, 32 and 64 bytes.
    unsafe {
        asm!(
            "mov rcx, 64", "mov rdi, {to}", "rep insb",
            "mov rcx, 16", "mov rsi, {from}", "rep outsw",
            "mov rcx, 16", "mov rdi, {to}", "rep insd",
            to = in(reg) to, from = in(reg) from, in("dx") number,
            out("rcx") _, out("rsi") _, out("rdi") _,
        );
    }
    assert!(data.iter().all(|word| *word == u32::MAX), "port {number:#x} answered");
}
