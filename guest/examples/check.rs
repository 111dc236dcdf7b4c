//! The classic self-check: it ends by HLT with 42 in RAX, and 42 in a static. The host verifies
//! both.
//@ expect: end=halted rax=42 mem.u64[ANSWER]=42 exits=1

#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest::Boot;

guest::entry!(main);

/// Named for the linker, so that the host finds it by its symbol.
#[unsafe(no_mangle)]
static ANSWER: AtomicU64 = AtomicU64::new(0);

fn main(_: &Boot) {
    ANSWER.store(6 * 7, Ordering::Relaxed);
    loop {
        // SAFETY: HLT only stops the vCPU; nothing runs behind it.
        unsafe { asm!("hlt", in("rax") ANSWER.load(Ordering::Relaxed)) };
    }
}
