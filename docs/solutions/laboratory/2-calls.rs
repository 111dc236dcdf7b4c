//! What a typed call costs, beside an exit alone.

#![no_std]
#![no_main]

use guest::abi::{host, lab};
use guest::{Boot, port};

guest::entry!(main, calls = [host, lab]);

fn main(_: &Boot) {
    let mut host = host::Client(guest::Out);
    guest::measure("an OUT", 200, || port::write_u8(0x300, 0));
    guest::measure("Host::exits", 200, || host.exits());
}
