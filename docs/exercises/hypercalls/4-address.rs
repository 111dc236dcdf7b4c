//! Whose address is it? Ask by port 0x304 where MARK lies in the host's memory, read both halves of
//! the answer, and tell port 0x309 one XOR the other. Then ask for the null page, and print the low
//! half of that answer by port 0x300.
//@ title: From a guest's address to the host's
//@ points: 3
//@ host: course
//@ expect: exit=0 exits.port[0x304]=2 exits.port[0x309]=1

#![no_std]
#![no_main]

use guest::Boot;

guest::entry!(main);

static MARK: u32 = 0x1234_5678;

fn main(_: &Boot) {
    let address = (&raw const MARK).addr();
    let _ = address;
}
