//! The first touch of a page of the guest's memory.

use super::Mechanism;
use portcall::Builder;

/// Bytes of memory: a page for each sample, and many more.
const MEMORY: u64 = 64 << 20;

pub(super) struct Touch;

impl Mechanism for Touch {
    fn name(&self) -> &'static str {
        "touch"
    }

    fn what(&self) -> &'static str {
        "the first write to a page of memory that neither side has touched"
    }

    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.memory(MEMORY)
    }
}
