//! Prints lines of 64 bytes, 1 MiB of them if nothing else is said: what text costs by the window,
//! where a byte an exit would be a million exits.
//@ args: 2048
//@ expect: exit=0 exits<=8 exits.port[0xe9]=0
//@ output: ignored
//@ timeout: 10s

#![no_std]
#![no_main]

use guest::{Boot, Exit, println};

guest::entry!(main);

/// With its line feed 64 bytes.
const LINE: &str = "sixty-three letters and blanks, and a line feed behind the last";

fn main(boot: &Boot) -> Exit {
    let lines = match boot.args().next().map(str::parse) {
        None => (1 << 20) / (LINE.len() + 1),
        Some(Ok(lines)) => lines,
        Some(Err(_)) => return Exit::code(2),
    };
    for _ in 0..lines {
        println!("{LINE}");
    }
    Exit::code(0)
}
