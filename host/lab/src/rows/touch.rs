//! The first touch of a page of the guest's memory.

use super::{Mechanism, Row};
use portcall::Builder;

/// Bytes of memory: a page for each sample, and many more.
const MEMORY: u64 = 64 << 20;

pub(super) const TOUCH: Row = Row {
    name: "touch",
    what: "the first write to a page of memory that neither side has touched",
    make: || Box::new(Touch),
};

struct Touch;

impl Mechanism for Touch {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.memory(MEMORY)
    }
}
