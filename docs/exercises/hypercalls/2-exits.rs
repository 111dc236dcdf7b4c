//! Counting exits: ask port 0x302 how many there have been, and tell port 0x309 what it said. Then
//! cause ten exits more, of any kind but at port 0x302, and do both once more.
//@ title: Count the exits
//@ points: 2
//@ host: course
//@ expect: exit=0 exits.port[0x302]=2 exits.port[0x309]=2 exits=15

#![no_std]
#![no_main]

use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    // The last exit of all is the one that ends the guest.
}
