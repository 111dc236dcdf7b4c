//! Prints without an end, a byte an exit.
//@ options: --limit exits=1000
//@ output: ignored
//@ expect: exit=122 end=limit-reached exits.port[0xe9]=1001

#![no_std]
#![no_main]

use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    loop {
        guest::port::write_u8(guest::abi::port::CONSOLE, b'!');
    }
}
