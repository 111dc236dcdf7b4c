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
    for _ in 0..2 * pages {
        let at = address(next());
        // SAFETY: this guest makes no allocation, so the heap is free.
        unsafe { at.write_volatile(at.addr() as u64) };
    }
    // SAFETY: as above.
    let read = |page| unsafe { address(page).read_volatile() };
    let wrong = (0..pages)
        .filter(|page| !matches!(read(*page), it if it == 0 || it == address(*page).addr() as u64));
    println!("{} wrong", wrong.count());
}
