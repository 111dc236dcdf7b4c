//! What an exit costs.

#![no_std]
#![no_main]

use guest::abi::lab;
use guest::{Boot, port};

guest::entry!(main, calls = [lab]);

fn main(_: &Boot) {
    guest::measure("an OUT", 200, || port::write_u8(0x300, 0));
}
