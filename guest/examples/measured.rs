//! What does it cost? A guest measures its own operations, and the host shows a table of them.
//@ stderr: an OUT nobody answers
//@ stderr: Host::exits
//@ stderr: Host::random, 64 bytes
//@ stderr: nothing
//@ expect: exit=0

#![no_std]
#![no_main]

use guest::abi::{host, lab};
use guest::{Boot, Out, port, println};

guest::entry!(main, calls = [host, lab]);

fn main(_: &Boot) {
    let mut host = host::Client(Out);
    let mut bytes = [0; 64];

    guest::measure("an OUT nobody answers", 200, || port::write_u8(0x300, 0));
    guest::measure("Host::exits", 200, || host.exits());
    guest::measure("Host::random, 64 bytes", 200, || host.random(&mut bytes));
    // Too short for the clock: 16 of them are one sample.
    guest::measure_batches("nothing", 100, 16, || {
        (0..16).for_each(|i| _ = core::hint::black_box(i))
    });
    guest::absent("VMCALL", "KVM answers it itself, or never comes back");

    println!("measured");
}
