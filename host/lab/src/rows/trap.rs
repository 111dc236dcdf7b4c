//! From ring 3 to ring 0 within a guest that makes both. It stands in ring 0, where such a guest begins.

use super::{Mechanism, Row};
use portcall::Ring;
use std::time::Duration;

pub(super) const INT3: Row = Row {
    name: "trap-int3",
    what: "INT3 from a ring 3 of the guest's own to its ring 0, and IRETQ back",
    make: || Box::new(Trap),
};
pub(super) const INT: Row = Row {
    name: "trap-int",
    what: "INT 80h from a ring 3 of the guest's own to its ring 0, and IRETQ back",
    make: || Box::new(Trap),
};
pub(super) const SYSCALL: Row = Row {
    name: "trap-syscall",
    what: "SYSCALL from a ring 3 of the guest's own to its ring 0, and SYSRETQ back",
    make: || Box::new(Trap),
};

struct Trap;

impl Mechanism for Trap {
    fn meaningless(&self, ring: Ring) -> Option<&'static str> {
        let why = "a guest that begins in ring 3 cannot make a ring 0 of its own";
        (ring == Ring::Three).then_some(why)
    }

    fn deadline(&self) -> Option<Duration> {
        // kvm_pvm delivers INT3 alone, and never comes back from the others. Elsewhere it takes some
        // hundred nanoseconds.
        Some(Duration::from_millis(500))
    }
}
