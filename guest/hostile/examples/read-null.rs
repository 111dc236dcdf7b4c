//! Reads through a null pointer.
//@ expect: exit=139 end=exception
//@ stderr: page fault (#PF): read of address 0x18: null pointer + 0x18
//@ stderr: --> guest/hostile/examples/read-null.rs

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host catches it is the point.
    let value = unsafe { core::ptr::without_provenance::<u32>(0x18).read_volatile() };
    println!("null holds {value}");
}
