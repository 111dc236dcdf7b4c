//! RDTSC, by which guests measure: what one more reading costs.

use core::arch::asm;
use guest::Boot;

pub(crate) fn rdtsc(_: &Boot, samples: u32) {
    guest::measure("rdtsc", samples, || {
        // SAFETY: every processor in 64-bit mode has it, and the host leaves it to its guests; it
        // changes EAX and EDX.
        unsafe { asm!("rdtsc", out("eax") _, out("edx") _) }
    });
}
