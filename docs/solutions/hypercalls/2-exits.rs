//! Counting exits. Each OUT and each IN is one; so is the end of the guest.

#![no_std]
#![no_main]

use guest::Boot;
use guest::port::{read_u32, write_u8, write_u32};

guest::entry!(main);

fn main(_: &Boot) {
    write_u32(0x309, read_u32(0x302));
    for _ in 0..10 {
        // Nobody answers there, but the guest is left all the same.
        write_u8(0x2ff, 0);
    }
    write_u32(0x309, read_u32(0x302));
}
