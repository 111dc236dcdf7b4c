//! Prints without an end, a byte an exit.
//@ timeout: 300ms
//@ output: ignored
//@ expect: exit=124 end=limit-reached exits.port[0xe9]>=100

#![no_std]
#![no_main]

use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    loop {
        guest::port::write_u8(guest::abi::port::CONSOLE, b'!');
    }
}
