//! A call of the host's into its guest.

use super::{Mechanism, Row};
use crate::report::Absent;
use crate::stopwatch::{Stopwatch, Timed};
use calls::back::Client;
use portcall::Vm;

pub(super) const HOST_CALL: Row = Row {
    name: "host-call",
    what: "a typed call from the host into the guest, with two numbers and their sum",
    make: || Box::new(HostCall),
};

struct HostCall;

impl Mechanism for HostCall {
    fn drive(&mut self, vm: &mut Vm, watch: &Stopwatch) -> Result<Option<Timed>, Absent> {
        let add = |vm: &mut Vm| match Client(vm.door()).add(2, 3) {
            Ok(5) => Ok(()),
            Ok(other) => Err(Absent::wrong(format!("the guest's sum of 2 and 3 is {other}"))),
            Err(error) => Err(Absent::wrong(error.to_string())),
        };
        // The OUT by which it waits, and some that answer.
        watch.time(vm, 4.0, add).map(Some)
    }
}
