//! An observer that counts: exits by port, bytes, time in the guest and in the host.

use portcall::exit::ExitKind;
use portcall::{Exit, ExitEvent, Observer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What went through one port.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Port {
    /// Exits by IN and INS.
    pub(crate) reads: u64,
    /// Exits by OUT and OUTS.
    pub(crate) writes: u64,
    /// Bytes, both ways.
    pub(crate) bytes: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) ports: BTreeMap<u16, Port>,
    /// Time inside KVM_RUN.
    pub(crate) in_guest: Duration,
    /// Time between one KVM_RUN and the next, but for that at stops which the guest did not
    /// ask for: there a debugger may have held it.
    pub(crate) in_host: Duration,
    left: Option<Instant>,
}

impl Counts {
    /// Exits on one port.
    pub(crate) fn exits_on(&self, port: u16) -> u64 {
        self.ports.get(&port).map_or(0, |port| port.reads + port.writes)
    }

    fn exit(&mut self, event: &ExitEvent<'_>) {
        self.in_guest += event.left.duration_since(event.entered);
        if let Some(left) = self.left {
            self.in_host += event.entered.duration_since(left);
        }
        let is_stop = matches!(event.exit.kind(), ExitKind::Interrupted | ExitKind::Debug);
        self.left = (!is_stop).then_some(event.left);
        if let Exit::Io(io) = event.exit {
            let port = self.ports.entry(io.port).or_default();
            *(if io.read { &mut port.reads } else { &mut port.writes }) += 1;
            port.bytes += u64::from(io.width) * u64::from(io.count);
        }
    }
}

/// The counting observer; clones share one set of counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<Counts>>);

impl Counter {
    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Counter {
    fn exit(&mut self, event: &ExitEvent<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).exit(event);
    }
}
