//! IN of 1, 2 and 4 bytes. The guest checks what it gets.

use super::Mechanism;
use super::sequence::Counter;
use calls::ways::PORT;
use portcall::Builder;

pub(super) const ONE: In = In("in-1", "IN of 1 byte from a port that a handler answers");
pub(super) const TWO: In = In("in-2", "IN of 2 bytes from a port that a handler answers");
pub(super) const FOUR: In = In("in-4", "IN of 4 bytes from a port that a handler answers");

pub(super) struct In(&'static str, &'static str);

impl Mechanism for In {
    fn name(&self) -> &'static str {
        self.0
    }

    fn what(&self) -> &'static str {
        self.1
    }

    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.ports(PORT..=PORT, Counter::default())
    }
}
