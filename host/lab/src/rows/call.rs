//! Typed hypercalls. The guest checks their results.

use super::{Mechanism, Row};
use calls::ways::{self, Server, Ways};
use portcall::Builder;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) const SCALARS: Row = Row {
    name: "call",
    what: "a typed call with two numbers and their sum",
    make: || Box::new(Call),
};
pub(super) const BUFFER_IN: Row = Row {
    name: "call-in",
    what: "a typed call with a buffer of 64 bytes that the host reads",
    make: || Box::new(Call),
};
pub(super) const BUFFER_OUT: Row = Row {
    name: "call-out",
    what: "a typed call with a buffer of 64 bytes that the host fills",
    make: || Box::new(Call),
};

struct Call;

/// Answers all calls of the rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// The address that a thread is to look at, once the guest has said it.
    pub(super) polled: Arc<AtomicU64>,
}

impl Ways for Answers {
    fn add(&mut self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    fn take(&mut self, bytes: &[u8]) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    fn give(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(1..).for_each(|(byte, value)| *byte = value);
    }

    fn doorbell(&mut self, ring: &mut [u8]) -> u64 {
        ways::ring::answer(ring)
    }

    fn poll(&mut self, address: u64) {
        self.polled.store(address, Ordering::Release);
    }
}

impl Mechanism for Call {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.serve(Server(Answers::default()))
    }
}
