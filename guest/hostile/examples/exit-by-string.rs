//! Ends again and again, by one string instruction: once is enough.
//@ expect: exit=7 end=exited

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    // SAFETY: none: that the host bears it is the point.
    unsafe {
        asm!(
            "rep outsd", in("dx") guest::abi::port::EXIT, in("ecx") 4,
            in("rsi") [7u32, 8, 9, 10].as_ptr(),
        );
    }
}
