//! Clears CR0.WP and maps a page of its own outside RAM.
//@ ring: 0
//@ expect: exit=139 end=unmapped-access
//@ stderr: wrote to guest-physical 0xfee00000

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

/// Its page table entry is turned elsewhere.
#[repr(align(4096))]
#[expect(dead_code, reason = "its address is what counts")]
struct Page([u8; 4096]);
static mut PAGE: Page = Page([0; 4096]);

fn main(_: &Boot) {
    println!("before");
    let page = (&raw mut PAGE).addr() as u64;
    let mut table: u64;
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("mov {0}, cr0", "and {0}, ~0x10000", "mov cr0, {0}", out(reg) _) };
    // SAFETY: reading CR3 changes nothing.
    unsafe { asm!("mov {}, cr3", out(reg) table) };
    for shift in [39, 30, 21] {
        let entry = (table + 8 * (page >> shift & 511)) as *const u64;
        // SAFETY: the host's tables are mapped one to one.
        table = unsafe { entry.read_volatile() } & 0x000f_ffff_ffff_f000;
    }
    let entry = (table + 8 * (page >> 12 & 511)) as *mut u64;
    // SAFETY: none: that the host bears it is the point.
    unsafe { entry.write_volatile(0xfee0_0003) };
    // SAFETY: as above.
    unsafe { asm!("invlpg [{}]", in(reg) page) };
    // SAFETY: as above.
    unsafe { (page as *mut u32).write_volatile(1) };
    println!("after");
}
