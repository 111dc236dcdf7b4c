//! HLT, and on behind it.

use super::{Mechanism, Row};
use crate::report::Absent;
use crate::stopwatch::{Stopwatch, Timed};
use portcall::{End, Ring, Stop, Vm};

pub(super) const HLT: Row = Row {
    name: "hlt",
    what: "HLT: from one to the next, with KVM_RUN anew in between",
    make: || Box::new(Hlt),
};

struct Hlt;

impl Mechanism for Hlt {
    fn meaningless(&self, ring: Ring) -> Option<&'static str> {
        (ring == Ring::Three).then_some("HLT is a general protection fault in ring 3")
    }

    fn drive(&mut self, vm: &mut Vm, watch: &Stopwatch) -> Result<Option<Timed>, Absent> {
        let on = |vm: &mut Vm| match vm.step().map_err(Absent::of_error)? {
            Stop::End(End::Halted) => Ok(()),
            other => Err(Absent::wrong(format!("{other:?} in place of a HLT"))),
        };
        // HLT, and the jump back to it.
        watch.time(vm, 2.0, on).map(Some)
    }
}
