//! Calls a function that lies in its data: those pages are no-execute.
//@ expect: exit=139 end=exception
//@ stderr: page fault (#PF): jump into no-execute memory
//@ stderr: is jump_data::CODE + 0x0

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

/// RET.
static mut CODE: [u8; 1] = [0xc3];

fn main(_: &Boot) {
    println!("before");
    let code = &raw const CODE;
    // SAFETY: none: that the host catches it is the point.
    let code: fn() = unsafe { core::mem::transmute(code) };
    code();
    println!("after");
}
