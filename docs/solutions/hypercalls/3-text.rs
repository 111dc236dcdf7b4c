//! A text in one exit: its address crosses, and the host reads it in the guest's memory.

#![no_std]
#![no_main]

use guest::Boot;
use guest::port::write_u32;

guest::entry!(main);

fn main(_: &Boot) {
    let address = c"hello from ring 0".as_ptr().addr();
    write_u32(0x301, u32::try_from(address).expect("a guest of 16 MiB lies below 4 GiB"));
}
