//! Reads the host's input to its end and sends it back, line by line, in capitals.
//@ stdin: first line\nsecond line\nno newline at the end

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::str::Utf8Error;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) -> Result<(), Utf8Error> {
    let input: Vec<u8> = guest::input::bytes().collect();
    for line in str::from_utf8(&input)?.lines() {
        println!("{}", line.to_uppercase());
    }
    Ok(())
}
