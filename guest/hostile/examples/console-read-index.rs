//! Lies in its console window about what the host has taken: that is for its own eyes only.
//@ output: ignored
//@ expect: exit=0

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};
use guest::{Boot, abi, println};

guest::entry!(main);

fn main(boot: &Boot) {
    let index = (boot.info().console + abi::console::READ_INDEX) as *mut u64;
    // SAFETY: the index is an aligned u64 in RAM that lives as long as the guest.
    let index = unsafe { AtomicU64::from_ptr(index) };
    for lie in [u64::MAX, 1 << 63, 0, abi::console::CAPACITY + 1, u64::MAX - 3] {
        index.store(lie, Ordering::Relaxed);
        println!("behind {lie:#x}");
    }
}
