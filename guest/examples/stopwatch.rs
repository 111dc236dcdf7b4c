//! How long a loop took by the processor's clock, which says something else in every run: so a
//! recording of this guest diverges when it is replayed, and says where.
//@ host: store
//@ replay: no

#![no_std]
#![no_main]

use calls::store;
use guest::{Boot, println};

guest::entry!(main, calls = [store]);

fn main(_: &Boot) {
    let start = clock();
    let sum: u64 = (0..1000).map(core::hint::black_box).sum();
    let cycles = clock() - start;
    store::Client(guest::Out).put("cycles", &cycles.to_le_bytes());
    println!("the sum is {sum}, the time is with the host");
}

fn clock() -> u64 {
    // SAFETY: every processor in 64-bit mode has RDTSC, and the host leaves it to its guests.
    unsafe { core::arch::x86_64::_rdtsc() }
}
