//! RDTSC, by which guests measure: what one more reading costs.

use guest::Boot;

pub(crate) fn rdtsc(_: &Boot, samples: u32) {
    // SAFETY: every processor in 64-bit mode has it, and the host leaves it to its guests.
    guest::measure("rdtsc", samples, || unsafe { core::arch::x86_64::_rdtsc() });
}
