//! Reads the host's input to its end and sends it back as it came.
//@ stdin: first line\nsecond line\x00\xff\nno newline at the end

#![no_std]
#![no_main]

use guest::{Boot, console, input};

guest::entry!(main);

fn main(_: &Boot) {
    for byte in input::bytes() {
        console::write(&[byte]);
    }
}
