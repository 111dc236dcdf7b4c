//! Prints 1 MiB: what text costs by the window, where a byte an exit would be a million exits.
//@ expect: exit=0 exits<=300 exits.port[0xe9]=0
//@ output: ignored
//@ timeout: 20s

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

/// With its line feed 64 bytes.
const LINE: &str = "sixty-three letters and blanks, and a line feed behind the last";

/// 1 MiB of them.
const LINES: usize = (1 << 20) / (LINE.len() + 1);

fn main(_: &Boot) {
    for _ in 0..LINES {
        println!("{LINE}");
    }
}
