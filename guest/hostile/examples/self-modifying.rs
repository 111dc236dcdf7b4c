//! Writes over the code that it is running, again and again: its pages are read-only, so it clears
//! CR0.WP. What runs is what was written last.
//@ ring: 0

#![no_std]
#![no_main]

use core::arch::naked_asm;
use guest::{Boot, println};
use hostile::own_tables::write_everywhere;

guest::entry!(main);

/// Stores its argument into the instruction behind the next one, which loads it.
#[unsafe(naked)]
extern "C" fn rewritten(_: u32) -> u32 {
    naked_asm!("mov [rip + 2f + 1], edi", "jmp 2f", "2: mov eax, 0x11223344", "ret")
}

fn main(_: &Boot) {
    write_everywhere();
    let right = (0..1000).filter(|number| rewritten(*number) == *number).count();
    println!("{right} of 1000");
}
