//! REP OUTSB and REP INSB.

use super::sequence::Counter;
use super::{Mechanism, Row};
use crate::report::Absent;
use calls::ways::{BYTES, PORT};
use portcall::{Builder, End, Guest, Ports};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(super) const OUTS: Row = Row {
    name: "outs",
    what: "REP OUTSB: 64 bytes to a port by one instruction",
    make: || Box::new(Outs::default()),
};
pub(super) const INS: Row = Row {
    name: "ins",
    what: "REP INSB: 64 bytes from a port by one instruction",
    make: || Box::new(Ins),
};

/// Bytes that arrived, and those of them that were not what the guest has at that place.
#[derive(Clone, Default)]
struct Bytes(Arc<[AtomicU64; 2]>);

impl Ports for Bytes {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
        let place = self.0[0].fetch_add(1, Relaxed) % BYTES as u64;
        self.0[1].fetch_add(u64::from(u64::from(value) != place), Relaxed);
        Ok(())
    }
}

#[derive(Default)]
struct Outs(Bytes);

impl Mechanism for Outs {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.ports(PORT..=PORT, self.0.clone())
    }

    fn check(&mut self, samples: u32) -> Result<(), Absent> {
        let [arrived, wrong] = [&self.0.0[0], &self.0.0[1]].map(|it| it.load(Relaxed));
        if wrong > 0 || arrived % BYTES as u64 != 0 || arrived < u64::from(samples) * BYTES as u64 {
            let why = format!("{arrived} bytes arrived of {samples} times {BYTES}, {wrong} wrong");
            return Err(Absent::wrong(why));
        }
        Ok(())
    }
}

/// The guest checks what it gets.
struct Ins;

impl Mechanism for Ins {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.ports(PORT..=PORT, Counter::default())
    }
}
