//! OUT of 1, 2 and 4 bytes.

use super::Mechanism;
use super::sequence::Sequence;
use crate::report::Absent;
use calls::ways::PORT;
use portcall::Builder;

pub(super) fn one() -> Out {
    Out::new("out-1", "OUT of 1 byte to a port that a handler answers")
}

pub(super) fn two() -> Out {
    Out::new("out-2", "OUT of 2 bytes to a port that a handler answers")
}

pub(super) fn four() -> Out {
    Out::new("out-4", "OUT of 4 bytes to a port that a handler answers")
}

pub(super) struct Out {
    name: &'static str,
    what: &'static str,
    written: Sequence,
}

impl Out {
    fn new(name: &'static str, what: &'static str) -> Self {
        Self { name, what, written: Sequence::default() }
    }
}

impl Mechanism for Out {
    fn name(&self) -> &'static str {
        self.name
    }

    fn what(&self) -> &'static str {
        self.what
    }

    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.ports(PORT..=PORT, self.written.clone())
    }

    fn check(&mut self, samples: u32) -> Result<(), Absent> {
        self.written.check(samples)
    }
}
