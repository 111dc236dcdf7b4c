//! Measuring operations by the processor's clock, for the host's tables.

use crate::Out;
use abi::lab::Client;
use core::arch::asm;
use core::hint::black_box;

/// Samples that go to the host at once, at least: a block. Samples of nothing are taken before and
/// behind each, so that a machine that changes its speed changes both. Many have larger blocks, since
/// a block costs some exits.
const BLOCK_MIN: u32 = 32;
const BLOCK_MAX: u32 = 256;

/// Into how many blocks samples go, where that makes none of these too small or too large.
const BLOCKS: u32 = 32;

/// Samples of nothing beside a block, and how many of them go at once: so the host gets two blocks
/// that differ in size, and can tell what a block costs from what a sample does.
const TIMER: Series = Series { samples: 24, block: 16 };

/// The most samples that are left out at the start, and those of nothing.
const WARM_UP_MAX: u32 = 64;
const TIMER_WARM_UP: u32 = 8;

/// Where samples stand before they are sent; the first is not.
type Buffer = [[u8; 8]; BLOCK_MAX as usize + 1];

/// Times `operation`, `samples` times, and tells the host under that name. `portcall run` shows a
/// table of it at the end.
///
/// ```ignore
/// use guest::abi::lab;
/// use guest::port;
///
/// guest::entry!(main, calls = [lab]);
///
/// fn main(_: &Boot) {
///     guest::measure("an OUT", 1000, || port::write_u8(0x300, 0));
/// }
/// ```
///
/// Each sample is the time stamp counter before and behind one call of the closure (RDTSC, which
/// waits for nothing: what the processor still has in flight may end behind it). An eighth as many,
/// at least 1 and at most 64, are taken first and left out. What the timer takes by itself, the
/// closure's call included, is measured with an empty one, over and over between blocks of 32 to 256
/// samples, and subtracted by the host from the samples beside it. The closure is called twice more
/// for each block, untimed. The closure's
/// result goes through [`black_box`], so that it is computed; that stores it, which is some
/// instructions more. A closure that returns nothing (`measure("a", n, || { f(); })`) has none of
/// them: for operations of a few instructions, or where each is emulated.
///
/// These are calls of [`abi::lab`]: name it among the `calls` of [`entry!`](crate::entry). A host
/// that does not allow that interface ends the run. One measurement is done within another by
/// nobody: the host refuses it.
pub fn measure<R>(name: &str, samples: u32, operation: impl FnMut() -> R) {
    measure_batches(name, samples, 1, operation);
}

/// The same where each call of the closure does `operations` operations, which one sample is the
/// mean of: for what is too short to be timed alone.
///
/// ```ignore
/// guest::measure_batches("a byte", 100, 64, || send(&[0; 64]));
/// ```
pub fn measure_batches<R>(
    name: &str,
    samples: u32,
    operations: u32,
    mut operation: impl FnMut() -> R,
) {
    take(name, samples, operations, &mut || {
        black_box(operation());
    });
}

/// Tells the host that there is nothing to measure under that name, and why: the table has a row
/// that says so.
pub fn absent(name: &str, why: &str) {
    Client(Out).absent(name, why);
}

fn take(name: &str, samples: u32, operations: u32, operation: &mut dyn FnMut()) {
    let warm_up = if samples == 0 { 0 } else { (samples / 8).clamp(1, WARM_UP_MAX) };
    Client(Out).begin(name, operations, samples, warm_up);
    let mut buffer = [[0; 8]; BLOCK_MAX as usize + 1];
    // The compiler is not to know which operation it is, nor which call: it would make code of its
    // own for each, and what is subtracted would be another's cost.
    let operation = black_box(operation);
    let mut empty = || ();
    let nothing: &mut dyn FnMut() = black_box(&mut empty);
    warm(warm_up, operation);
    warm(TIMER_WARM_UP, nothing);
    let block = (samples / BLOCKS).clamp(BLOCK_MIN, BLOCK_MAX);
    let mut left = samples;
    TIMER.take(nothing, black_box(send_timer), &mut buffer);
    while left > 0 {
        let series = Series { samples: left.min(block), block };
        series.take(operation, black_box(send_samples), &mut buffer);
        TIMER.take(nothing, black_box(send_timer), &mut buffer);
        left -= series.samples;
    }
    Client(Out).end();
}

#[inline(never)]
fn warm(times: u32, operation: &mut dyn FnMut()) {
    for _ in 0..times {
        black_box(time(operation));
    }
}

#[inline(never)]
fn send_timer(ticks: &[u8]) {
    Client(Out).timer(ticks);
}

#[inline(never)]
fn send_samples(ticks: &[u8]) {
    Client(Out).samples(ticks);
}

/// How samples are taken.
#[derive(Clone, Copy)]
struct Series {
    samples: u32,
    /// The most that are sent at once.
    block: u32,
}

impl Series {
    /// Takes the samples and sends them. One code for all operations, so that the instructions
    /// around each are the same, as the [contract](abi#the-stock-interface) has it.
    #[inline(never)]
    fn take(self, operation: &mut dyn FnMut(), send: fn(&[u8]), buffer: &mut Buffer) {
        // The first block has none: from there on each does the same instructions but for its
        // samples'.
        let (mut left, mut count) = (self.samples, 0);
        loop {
            let Some(block) = buffer.get_mut(..=count as usize) else { return };
            for slot in block.iter_mut() {
                *slot = time(operation).to_le_bytes();
            }
            // The first operation found what the call before left in the caches.
            send(block[1..].as_flattened());
            left -= count;
            if left == 0 {
                return;
            }
            count = left.min(self.block);
        }
    }
}

/// The ticks that it takes. Between the two readings are moves and a call, no more.
#[inline(always)]
fn time(operation: &mut dyn FnMut()) -> u64 {
    let (low, high): (u32, u32);
    let (low_behind, high_behind): (u32, u32);
    // Not `nomem`, so that the compiler moves nothing of the operation across a reading.
    // SAFETY: every processor in 64-bit mode has RDTSC, and the host leaves it to its guests; it
    // changes the registers that are named.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    operation();
    // SAFETY: as above.
    unsafe {
        asm!("rdtsc", out("eax") low_behind, out("edx") high_behind,
            options(nostack, preserves_flags));
    }
    let ticks = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    ticks(low_behind, high_behind).wrapping_sub(ticks(low, high))
}
