//! The function that each exit was in, looked up once an address.

use super::format::Subject;
use super::record::Turn;
use crate::kind::KvmKind;
use portcall::Exit;
use std::collections::HashMap;

/// Names by address.
pub(crate) struct Names<'s, 'f> {
    subject: &'s Subject<'s, 'f>,
    known: HashMap<u64, Option<(String, u64)>>,
}

impl<'s, 'f> Names<'s, 'f> {
    pub(crate) fn new(subject: &'s Subject<'s, 'f>) -> Self {
        Self { subject, known: HashMap::new() }
    }

    /// The function that made the exit, and how far in it RIP was.
    pub(crate) fn at(&mut self, turn: &Turn) -> Option<(&str, u64)> {
        let (rip, symbols) = (turn.rip?, self.subject.symbols?);
        // Behind an OUT that is its function's last instruction begins another function.
        let is_out = matches!(&turn.exit, Exit::Io(io) if !io.read);
        let behind = u64::from(is_out && self.subject.kind == KvmKind::Pvm);
        let found = self.known.entry(rip.wrapping_sub(behind));
        let found = found.or_insert_with_key(|address| symbols.symbol_at(*address));
        found.as_ref().map(|(name, offset)| (name.as_str(), offset + behind))
    }
}
