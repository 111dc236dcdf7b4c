//! IN of 1, 2 and 4 bytes. The guest checks what it gets.

use super::sequence::Counter;
use super::{Mechanism, Row};
use calls::ways::PORT;
use portcall::Builder;

pub(super) const ONE: Row = Row {
    name: "in-1",
    what: "IN of 1 byte from a port that a handler answers",
    make: || Box::new(In),
};
pub(super) const TWO: Row = Row {
    name: "in-2",
    what: "IN of 2 bytes from a port that a handler answers",
    make: || Box::new(In),
};
pub(super) const FOUR: Row = Row {
    name: "in-4",
    what: "IN of 4 bytes from a port that a handler answers",
    make: || Box::new(In),
};

struct In;

impl Mechanism for In {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.ports(PORT..=PORT, Counter::default())
    }
}
