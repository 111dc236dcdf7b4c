//! And a typed call? Measure `Host::exits` beside the same OUT as before, in ring 3, under the names
//! "an OUT" and "Host::exits".
//@ title: Measure a typed call, in ring 3
//@ points: 3
//@ ring: 3
//@ measures: an OUT
//@ measures: Host::exits
//@ expect: exit=0 exits.port[0x300]>=200

#![no_std]
#![no_main]

use guest::Boot;
use guest::abi::{host, lab};

guest::entry!(main, calls = [host, lab]);

fn main(_: &Boot) {
    // host::Client(guest::Out).exits() is the call.
}
