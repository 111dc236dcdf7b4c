//! Lies in its console window: an index ahead, behind, and about to wrap.
//@ output: ignored
//@ stderr: bytes of console text were lost
//@ expect: exit=0

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};
use guest::{Boot, abi, console, println};

guest::entry!(main);

fn main(boot: &Boot) {
    println!("before");
    let window = boot.info().console as *mut u64;
    // SAFETY: the index is an aligned u64 in RAM that lives as long as the guest.
    let index = unsafe { AtomicU64::from_ptr(window) };
    for lie in [u64::MAX, 1 << 63, 0, abi::console::CAPACITY + 1, u64::MAX - 3] {
        index.store(lie, Ordering::Relaxed);
        console::flush();
        println!("behind {lie:#x}");
        console::flush();
    }
}
