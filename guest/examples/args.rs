//! What the host tells a guest: arguments, and the machine's memory. It ends with the number of
//! arguments as its exit code.
//@ args: one two three=3 ünicode
//@ memory: 8MiB
//@ expect: exit=4

#![no_std]
#![no_main]

use guest::{Boot, Exit, println};

guest::entry!(main);

fn main(boot: &Boot) -> Exit {
    let mut count = 0;
    for arg in boot.args() {
        count += 1;
        println!("{count}: {arg}");
    }
    for ram in boot.ram() {
        println!("RAM from {:#x} to {:#x}", ram.start, ram.end);
    }
    Exit::code(count)
}
