//! A ring in shared memory, with a typed call as the doorbell of many requests. The guest checks the
//! answers.

use super::Mechanism;
use super::call::Answers;
use calls::ways::Server;
use portcall::Builder;

pub(super) const ONE: Batch =
    Batch("ring-1", "a request in a shared ring, with a doorbell for each", 8);
pub(super) const EIGHT: Batch =
    Batch("ring-8", "a request in a shared ring, with a doorbell for 8", 8);
pub(super) const SIXTY_FOUR: Batch =
    Batch("ring-64", "a request in a shared ring, with a doorbell for 64", 4);
pub(super) const FULL: Batch =
    Batch("ring-512", "a request in a shared ring, with a doorbell for 512", 2);

/// Name, what is done, samples to try it with.
pub(super) struct Batch(&'static str, &'static str, u32);

impl Mechanism for Batch {
    fn name(&self) -> &'static str {
        self.0
    }

    fn what(&self) -> &'static str {
        self.1
    }

    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.serve(Server(Answers::default()))
    }

    fn probe(&self) -> u32 {
        self.2
    }
}
