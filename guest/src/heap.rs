//! The global allocator: talc over the heap that the boot information names.

use core::alloc::Layout;
use core::sync::atomic::{AtomicUsize, Ordering};
use spinning_top::RawSpinlock;
use talc::TalcLock;
use talc::base::{Talc, binning::Binning};
use talc::source::Source;

#[global_allocator]
static HEAP: TalcLock<RawSpinlock, Boot> = TalcLock::new(Boot);

/// The heap that no one has claimed yet; 0 bytes once it is.
static START: AtomicUsize = AtomicUsize::new(0);
static SIZE: AtomicUsize = AtomicUsize::new(0);

/// Names the heap. It is claimed at the first allocation, so a guest that makes none pays nothing.
///
/// # Safety
/// The range is RAM that nothing else uses.
pub(crate) unsafe fn offer(range: abi::boot::Range) {
    START.store(crate::to_usize(range.start), Ordering::Relaxed);
    SIZE.store(crate::to_usize(range.size()), Ordering::Relaxed);
}

#[derive(Debug)]
struct Boot;

// SAFETY: `acquire` touches the allocator only through `talc`.
unsafe impl Source for Boot {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, _: Layout) -> Result<(), ()> {
        let size = SIZE.swap(0, Ordering::Relaxed);
        let start = START.load(Ordering::Relaxed) as *mut u8;
        // SAFETY: `offer` was given RAM that nothing else uses, and the swap gives it once.
        let claimed = size > 0 && unsafe { talc.claim(start, size) }.is_some();
        if claimed { Ok(()) } else { Err(()) }
    }
}
