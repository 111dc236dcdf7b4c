//! Calls an address where nothing is mapped.
//@ expect: exit=139 end=exception rip=0x700000000000
//@ stderr: jump to 0x700000000000: nothing is mapped there; RAM ends at 0x1000000
//@ stderr: --> guest/hostile/examples/jump-unmapped.rs

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    let nowhere = core::ptr::without_provenance::<()>(0x7000_0000_0000);
    // SAFETY: none: that the host catches it is the point.
    let nowhere: fn() = unsafe { core::mem::transmute(nowhere) };
    nowhere();
}
