//! Wants more heap than there is.
//@ expect: exit=101 end=panicked
//@ stderr: memory allocation of 1099511627776 bytes failed

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    println!("{}", core::hint::black_box(Vec::<u8>::with_capacity(1 << 40)).capacity());
}
