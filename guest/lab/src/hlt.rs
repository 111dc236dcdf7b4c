//! HLT: the guest waits for an interrupt that does not come, and the host has it go on. The host's
//! clock measures it, from one HLT to the next.

use core::arch::asm;
use guest::Boot;

pub(crate) fn hlt(_: &Boot, _: u32) {
    loop {
        // SAFETY: it changes nothing.
        unsafe { asm!("hlt") }
    }
}
