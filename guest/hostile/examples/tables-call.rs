//! Has page tables of its own, and makes calls with texts that it has mapped: of read-only pages,
//! which it may read; and where there is no RAM, which is refused.
//@ ring: 0
//@ stderr: call refused: Host::log
//@ expect: exit=123 end=call-refused

#![no_std]
#![no_main]

use guest::abi::host::Level;
use guest::{Boot, println};
use hostile::own_tables::{Own, RW};

guest::entry!(main, calls = [guest::abi::host]);

fn main(_: &Boot) {
    let tables = Own::load();
    let ours = tables.map(0, 0x10_0000 | RW);
    for address in [ours, tables.map(1, 0xfee0_0000 | RW)] {
        println!("at {address:#x}");
        // SAFETY: none: that the host bears it is the point.
        let text = unsafe { core::slice::from_raw_parts(address as *const u8, 3) };
        // SAFETY: as above.
        let text = unsafe { core::str::from_utf8_unchecked(text) };
        guest::abi::host::Client(guest::Out).log(Level::Info, text);
    }
}
