//! Uses the ports of the contract that do not end it, without an end: flushes what is empty, reads
//! an input that has ended, says that it faulted and that it waits for calls, and does not.
//@ options: --limit exits=2000
//@ expect: exit=122 end=limit-reached exits.port[0xf6]>100 exits.port[0xf8]>100

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: this image has no mailbox, so the host writes nowhere.
    unsafe {
        asm!(
            "2: out 0xe8, al",
            "in eax, 0xea",
            "out 0xf6, al",
            "out 0xf8, eax",
            "in al, 0xe9",
            "in ax, 0xf4",
            "in eax, 0xf7",
            "jmp 2b"
        );
    }
}
