//! Clears CR0.WP and writes over all that the host has put there: descriptor tables, stubs and page
//! tables. Then it faults.
//@ ring: 0
//@ stderr: the guest has written over the host's GDT, IDT, TSS
//@ expect: exit=139 end=triple-fault

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::pointer;
use hostile::own_tables::{cr3, write_everywhere};

guest::entry!(main);

fn main(boot: &Boot) {
    println!("before");
    write_everywhere();
    let (tables, boot_block) = (cr3(), boot.info().args.start & !0xfff);
    // The descriptors and the stubs; then the second half of the root table, which is not in use.
    let descriptors = (pointer().base & !0xfff..boot_block - 0x1000).step_by(8);
    let half = (tables + 0x800..tables + 0x1000).step_by(8);
    for address in descriptors.chain(half) {
        // SAFETY: none: that the host bears it is the point.
        unsafe { (address as *mut u64).write_volatile(0xa5a5_a5a5_a5a5_a5a7) };
    }
    // SAFETY: as above.
    unsafe { asm!("ud2") };
}
