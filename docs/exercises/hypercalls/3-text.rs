//! A text in one exit: have the host print "hello from ring 0" by port 0x301.
//@ title: Print a text in one exit
//@ points: 2
//@ host: course
//@ expect: exit=0 exits.port[0x301]=1 exits.port[0xe9]=0 exits=2

#![no_std]
#![no_main]

use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    // A text with a NUL at its end is c"..."; `as_ptr().addr()` is where it is.
}
