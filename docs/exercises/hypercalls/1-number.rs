//! Three numbers: print 7, 42 and 4000000000 by port 0x300, with one OUT each.
//@ title: Print a number
//@ points: 1
//@ host: course
//@ expect: exit=0 exits.port[0x300]=3

#![no_std]
#![no_main]

use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    // `guest::port` has write_u8, write_u16, write_u32 and the same to read.
}
