//! From ring 3 to ring 0 and back, within the guest.

use guest::Boot;

pub(crate) fn trap(_: &Boot, _: u32) {
    guest::absent("trap", "it is not written yet");
}
