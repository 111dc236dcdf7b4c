//! The first touch of a page: memory that nobody touched yet, neither guest nor host.

use guest::Boot;

const PAGE: u64 = 4096;

pub(crate) fn touch(boot: &Boot, samples: u32) {
    // This guest makes no allocation, so the heap is free, and untouched.
    let heap = boot.heap();
    let mut next = heap.start.next_multiple_of(PAGE);
    guest::measure("touch", samples, || {
        assert!(next + PAGE <= heap.end, "the heap has too few pages");
        // SAFETY: a word of the heap, which nobody else uses.
        unsafe { (next as *mut u64).write_volatile(1) };
        next += PAGE;
    });
}
