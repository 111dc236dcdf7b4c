//! Has as much memory as there can be, and touches a page here and there.
//@ memory: 63GiB

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(boot: &Boot) {
    let heap = boot.heap();
    let addresses = || {
        let mut state = 1u64;
        (0..300).map(move |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (heap.start + (state >> 16) % (heap.size() / 8) * 8) as *mut u64
        })
    };
    for address in addresses() {
        // SAFETY: this guest makes no allocation, so the heap is free.
        unsafe { address.write_volatile(address.addr() as u64) };
    }
    // SAFETY: as above.
    let read = |address: *mut u64| unsafe { address.read_volatile() };
    let right = addresses().filter(|address| read(*address) == address.addr() as u64).count();
    println!("{right} of 300");
}
