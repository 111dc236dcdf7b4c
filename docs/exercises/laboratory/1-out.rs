//! What does an exit cost? Measure one OUT to port 0x300, where nobody answers, 200 times, under the
//! name "an OUT". See what the table of `cargo xtask run` says of it.
//@ title: Measure an OUT
//@ points: 2
//@ measures: an OUT
//@ expect: exit=0 exits.port[0x300]>=200

#![no_std]
#![no_main]

use guest::Boot;
use guest::abi::lab;

guest::entry!(main, calls = [lab]);

fn main(_: &Boot) {
    // guest::measure(NAME, SAMPLES, || OPERATION)
}
