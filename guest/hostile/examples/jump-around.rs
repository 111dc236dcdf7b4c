//! Jumps to all that is the host's or no code: none of it is executed, but for the stubs, which no
//! one takes for exceptions.
//@ ring: 0

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::{self, attempt};
use hostile::own_tables::cr3;

guest::entry!(main);

fn main(boot: &Boot) {
    own_idt::load();
    let boot_block = boot.info().args.start & !0xfff;
    let (console, stack) = (boot.info().console, (&raw const boot).addr() as u64);
    for (what, address) in [
        ("null page", 0),
        ("page tables", cr3()),
        ("interrupt table", boot_block - 0x5000),
        ("exception stacks", boot_block - 0x1000),
        ("boot information", boot_block),
        ("console window", console + 64),
        ("stack guard", console + 64 + 0x1_0000),
        ("stack", stack),
        ("heap", boot.heap().start),
        ("end of RAM", boot.info().ram[0].end),
        ("hole", 0xc000_0000),
    ] {
        let raised = attempt(|| jump(address));
        println!("{what}: {raised}");
    }
    // Behind the stubs there are zeros, ADD [RAX], AL, up to the end of their page, where the host's
    // way back from a trap stands: an IRETQ, for which there is no frame.
    let raised = attempt(|| jump(boot_block - 0x2000 + 4 * 32));
    println!("behind the stubs: {raised}");
}

fn jump(address: u64) {
    let data = &mut [0u8; 1];
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("jmp {}", in(reg) address, in("rax") data.as_mut_ptr()) }
}
