//! Three numbers.

#![no_std]
#![no_main]

use guest::Boot;
use guest::port::write_u32;

guest::entry!(main);

fn main(_: &Boot) {
    for number in [7, 42, 4_000_000_000] {
        write_u32(0x300, number);
    }
}
