//! A guest that makes no exit, and is stopped by a signal. The host's clock measures that.

use guest::Boot;

pub(crate) fn spin(_: &Boot, _: u32) {
    loop {
        core::hint::spin_loop();
    }
}
