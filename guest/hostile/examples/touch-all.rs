//! Touches all of its memory in no order, some of it often, up to the last page.
//@ memory: 8MiB

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(boot: &Boot) {
    let heap = boot.heap();
    let pages = heap.size() / 4096;
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    let address = |number: u64| (heap.start + number % pages * 4096) as *mut u64;
    // An odd stride through a power of two comes to all of them; the rest is by chance.
    let all = (0..pages.next_power_of_two()).map(|i| i * 769 % pages.next_power_of_two());
    for page in all.filter(|page| *page < pages).chain((0..pages).map(|_| next())) {
        let at = address(page);
        // SAFETY: this guest makes no allocation, so the heap is free.
        unsafe { at.write_volatile(at.addr() as u64) };
    }
    // SAFETY: as above.
    let read = |page| unsafe { address(page).read_volatile() };
    let wrong = (0..pages).filter(|page| read(*page) != address(*page).addr() as u64);
    println!("{} wrong", wrong.count());
}
