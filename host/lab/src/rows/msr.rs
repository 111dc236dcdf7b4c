//! RDMSR and WRMSR, answered by the host.

use super::sequence::{Counter, Sequence};
use super::{Mechanism, Row};
use crate::report::Absent;
use calls::ways::MSR;
use portcall::error::KvmError;
use portcall::{Builder, End, Error, Guest, Msrs, Ring};

const RING_3: &str = "RDMSR and WRMSR are general protection faults in ring 3";

fn not_built(error: &Error) -> Absent {
    match error {
        Error::Kvm(KvmError::NoMsrs) => Absent::lacking(error.to_string()),
        _ => Absent::failed(error.to_string()),
    }
}

impl Msrs for Counter {
    fn read(&mut self, _: &mut Guest<'_>, _: u32) -> Result<Option<u64>, End> {
        Ok(Some(self.next().into()))
    }
}

impl Msrs for Sequence {
    fn write(&mut self, _: &mut Guest<'_>, _: u32, value: u64) -> Result<bool, End> {
        self.arrived(value);
        Ok(true)
    }
}

pub(super) const READ: Row = Row {
    name: "rdmsr",
    what: "RDMSR of a register that the host answers for in user space",
    make: || Box::new(Read),
};
pub(super) const WRITE: Row = Row {
    name: "wrmsr",
    what: "WRMSR of a register that the host answers for in user space",
    make: || Box::new(Write::default()),
};

/// The guest checks what it gets.
struct Read;

impl Mechanism for Read {
    fn meaningless(&self, ring: Ring) -> Option<&'static str> {
        (ring == Ring::Three).then_some(RING_3)
    }

    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.msrs(MSR..=MSR, Counter::default())
    }

    fn not_built(&self, error: &Error) -> Absent {
        not_built(error)
    }
}

#[derive(Default)]
struct Write(Sequence);

impl Mechanism for Write {
    fn meaningless(&self, ring: Ring) -> Option<&'static str> {
        (ring == Ring::Three).then_some(RING_3)
    }

    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.msrs(MSR..=MSR, self.0.clone())
    }

    fn not_built(&self, error: &Error) -> Absent {
        not_built(error)
    }

    fn check(&mut self, samples: u32) -> Result<(), Absent> {
        self.0.check(samples)
    }
}
