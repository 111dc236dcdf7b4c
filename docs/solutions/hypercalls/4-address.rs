//! Whose address is it?

#![no_std]
#![no_main]

use guest::Boot;
use guest::port::{read_u32, write_u32};

guest::entry!(main);

static MARK: u32 = 0x1234_5678;

fn main(_: &Boot) {
    let address = (&raw const MARK).addr();
    write_u32(0x304, u32::try_from(address).expect("a guest of 16 MiB lies below 4 GiB"));
    write_u32(0x309, read_u32(0x305) ^ read_u32(0x306));
    write_u32(0x304, 0);
    write_u32(0x300, read_u32(0x305));
}
