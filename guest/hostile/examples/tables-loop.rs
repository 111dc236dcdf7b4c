//! Has page tables of its own, of which all but one entry lead to the table itself: memory without
//! end, of one page. Panics with a text in there.
//@ ring: 0
//@ expect: exit=101 end=panicked

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_tables::{Own, RW};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    let tables = Own::load();
    let root = tables.root.address();
    for entry in &mut tables.root.0[1..] {
        *entry = root | RW;
    }
    // SAFETY: none: that the host bears it is the point.
    unsafe {
        asm!("mov rax, cr3", "mov cr3, rax", "out 0xf5, al", out("rax") _,
            in("rdi") 0x7fff_ffff_f008u64, in("rsi") 8,
            in("rdx") 0xffff_ffff_ffff_f008u64, in("rcx") 4096);
    }
}
