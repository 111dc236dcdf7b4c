//! From ring 3 to ring 0 within a guest that makes both.

use super::Mechanism;
use portcall::Ring;

pub(super) struct Trap;

impl Mechanism for Trap {
    fn name(&self) -> &'static str {
        "trap"
    }

    fn what(&self) -> &'static str {
        "INT3 from the guest's own ring 3 to its own ring 0, and IRETQ back"
    }

    fn meaningless(&self, ring: Ring) -> Option<&'static str> {
        let why = "a guest that begins in ring 3 cannot make a ring 0 of its own";
        (ring == Ring::Three).then_some(why)
    }
}
