//! Reads and writes of a window of memory-mapped I/O.

use super::sequence::{Counter, Sequence};
use super::{Mechanism, Row};
use crate::report::Absent;
use calls::ways::WINDOW;
use portcall::{Builder, End, Gpa, Guest, Mmio};
use std::ops::Range;

/// The window, one page.
pub(super) const PAGE: Range<u64> = WINDOW..WINDOW + 4096;

impl Mmio for Counter {
    fn read(&mut self, _: &mut Guest<'_>, _: Gpa, _: u8) -> Result<u64, End> {
        Ok(self.next().into())
    }
}

impl Mmio for Sequence {
    fn write(&mut self, _: &mut Guest<'_>, _: Gpa, _: u8, value: u64) -> Result<(), End> {
        self.arrived(value);
        Ok(())
    }
}

pub(super) const READ: Row = Row {
    name: "mmio-read",
    what: "a read of 4 bytes from a page of memory-mapped I/O",
    make: || Box::new(Read),
};
pub(super) const WRITE: Row = Row {
    name: "mmio-write",
    what: "a write of 4 bytes to a page of memory-mapped I/O",
    make: || Box::new(Write::default()),
};

/// The guest checks what it gets.
struct Read;

impl Mechanism for Read {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.mmio(PAGE, Counter::default())
    }
}

#[derive(Default)]
struct Write(Sequence);

impl Mechanism for Write {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.mmio(PAGE, self.0.clone())
    }

    fn check(&mut self, samples: u32) -> Result<(), Absent> {
        self.0.check(samples)
    }
}
