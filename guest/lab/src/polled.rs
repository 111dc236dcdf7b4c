//! A request in memory that a thread of the host's looks at all the time: no exit at all, as long as
//! there is a processor for that thread.

use calls::ways::{Client, GAP};
use core::sync::atomic::{AtomicU64, Ordering};
use guest::{Boot, Out};

/// Two words that are written by one side each: a number, and twice that.
#[repr(C, align(128))]
struct Page {
    asked: AtomicU64,
    gap: [u8; GAP - 8],
    answered: AtomicU64,
}

pub(crate) fn polled(_: &Boot, samples: u32) {
    static PAGE: Page =
        Page { asked: AtomicU64::new(0), gap: [0; GAP - 8], answered: AtomicU64::new(0) };
    Client(Out).poll((&raw const PAGE).addr() as u64);
    let mut number = 0;
    guest::measure("polled", samples, || {
        number += 1;
        PAGE.asked.store(number, Ordering::Release);
        while PAGE.answered.load(Ordering::Acquire) != 2 * number {
            core::hint::spin_loop();
        }
    });
}
