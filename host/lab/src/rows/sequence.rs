//! Whether what a guest writes arrives, all of it and in order.

use crate::report::Absent;
use calls::ways::CHECKED;
use portcall::{End, Guest, Ports};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Values as they arrive: 0, 1, 2 and so on up to [`CHECKED`], then zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    arrived: AtomicU64,
    wrong: AtomicU64,
}

impl Sequence {
    /// One more.
    pub(super) fn arrived(&self, value: u64) {
        let expected = match self.0.arrived.fetch_add(1, Relaxed) {
            number if number < u64::from(CHECKED) => number,
            _ => 0,
        };
        self.0.wrong.fetch_add(u64::from(value != expected), Relaxed);
    }

    /// Whether at least so many arrived behind the first, and all as they should.
    pub(super) fn check(&self, samples: u32) -> Result<(), Absent> {
        let (arrived, wrong) = (self.0.arrived.load(Relaxed), self.0.wrong.load(Relaxed));
        let least = u64::from(CHECKED) + u64::from(samples);
        if arrived < least {
            return Err(Absent::wrong(format!("{arrived} of at least {least} writes arrived")));
        }
        if wrong > 0 {
            let why = format!("{wrong} of {arrived} writes arrived with another value or order");
            return Err(Absent::wrong(why));
        }
        Ok(())
    }
}

impl Ports for Sequence {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
        self.arrived(value.into());
        Ok(())
    }
}

/// Numbers for a guest that checks them: 0, 1, 2 and so on.
#[derive(Debug, Default)]
pub(super) struct Counter(u32);

impl Counter {
    pub(super) const fn next(&mut self) -> u32 {
        let value = self.0;
        self.0 = value.wrapping_add(1);
        value
    }
}

impl Ports for Counter {
    fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
        Ok(self.next())
    }
}
