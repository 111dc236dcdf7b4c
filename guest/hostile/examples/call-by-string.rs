//! Makes calls by a string instruction, whose numbers are no words of it.
//@ expect: exit=123 end=call-refused

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
            "rep outsd", in("dx") guest::abi::port::CALL, in("ecx") 4,
            in("rsi") [7u32, 8, 9, 10].as_ptr(),
        );
    }
}
