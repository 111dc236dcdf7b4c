//! A ring in shared memory, with a typed call as the doorbell of many requests. The guest checks the
//! answers.

use super::call::Answers;
use super::{Mechanism, Row};
use calls::ways::Server;
use portcall::Builder;

pub(super) const ONE: Row = Row {
    name: "ring-1",
    what: "a request in a shared ring, with a doorbell for each",
    make: || Box::new(Batch(8)),
};
pub(super) const EIGHT: Row = Row {
    name: "ring-8",
    what: "a request in a shared ring, with a doorbell for 8",
    make: || Box::new(Batch(8)),
};
pub(super) const SIXTY_FOUR: Row = Row {
    name: "ring-64",
    what: "a request in a shared ring, with a doorbell for 64",
    make: || Box::new(Batch(4)),
};
pub(super) const FULL: Row = Row {
    name: "ring-512",
    what: "a request in a shared ring, with a doorbell for 512",
    make: || Box::new(Batch(2)),
};

/// Samples to try it with.
struct Batch(u32);

impl Mechanism for Batch {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.serve(Server(Answers::default()))
    }

    fn probe(&self) -> u32 {
        self.0
    }
}
