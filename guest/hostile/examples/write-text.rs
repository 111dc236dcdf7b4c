//! Writes to its own code.
//@ expect: exit=139 end=exception
//@ stderr: page fault (#PF): write to a read-only page of .text

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    let code = main as *mut u8;
    // SAFETY: none: that the host catches it is the point.
    unsafe { code.write_volatile(0xc3) };
    println!("after");
}
