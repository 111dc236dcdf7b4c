//! OUT of 1, 2 and 4 bytes.

use super::sequence::Sequence;
use super::{Mechanism, Row};
use crate::report::Absent;
use calls::ways::PORT;
use portcall::Builder;

pub(super) const ONE: Row = Row {
    name: "out-1",
    what: "OUT of 1 byte to a port that a handler answers",
    make: || Box::new(Out::default()),
};
pub(super) const TWO: Row = Row {
    name: "out-2",
    what: "OUT of 2 bytes to a port that a handler answers",
    make: || Box::new(Out::default()),
};
pub(super) const FOUR: Row = Row {
    name: "out-4",
    what: "OUT of 4 bytes to a port that a handler answers",
    make: || Box::new(Out::default()),
};

#[derive(Default)]
struct Out(Sequence);

impl Mechanism for Out {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.ports(PORT..=PORT, self.0.clone())
    }

    fn check(&mut self, samples: u32) -> Result<(), Absent> {
        self.0.check(samples)
    }
}
