//! The guest's spans: which are open, from when to when, by what the guest says and is told.
//!
//! A guest may say anything: end what is not open, never end, begin a million. What is kept nests
//! properly in any case, since a span's end is that of all that began in it.

use super::record::Time;
use portcall::CallEvent;
use portcall::abi::span::{INTERFACE, NOBODY};

/// The most spans that are open at once; those beyond are not kept.
const OPEN: usize = 1024;

/// The most bytes of a name that are kept.
const NAME: u64 = 128;

const BEGIN: u32 = INTERFACE.number(INTERFACE.place("begin"));
const END: u32 = INTERFACE.number(INTERFACE.place("end"));

/// A span that is over.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) name: Box<str>,
    pub(crate) begun: Time,
    pub(crate) ended: Time,
    /// How many it is in.
    pub(crate) depth: usize,
    /// Whether the guest never ended it.
    pub(crate) open: bool,
}

#[derive(Debug)]
struct Open {
    id: u64,
    name: Box<str>,
    /// When the guest went on with it; not yet, at first.
    begun: Option<Time>,
}

#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// By id, since each id is more than those before.
    open: Vec<Open>,
    dropped: u64,
}

impl Spans {
    /// The guest was entered then: those that have just begun begin.
    pub(crate) fn entered(&mut self, at: Time) {
        if let Some(last) = self.open.last_mut() {
            last.begun.get_or_insert(at);
        }
    }

    /// A call was answered, for which the guest left then. Gives the spans that are over.
    pub(crate) fn call(&mut self, call: &CallEvent<'_>, left: Time, mut over: impl FnMut(Span)) {
        match (call.number, call.results) {
            // Ok, and the id.
            (BEGIN, &[0, id, ..]) if id != NOBODY => {
                // Another host's ids, behind a snapshot, may begin anew.
                self.close(id, left, &mut over);
                if self.open.len() == OPEN {
                    self.dropped += 1;
                    return;
                }
                self.open.push(Open { id, name: name(call), begun: None });
            }
            (END, _) => {
                let [id, ..] = *call.words;
                if self.open.binary_search_by_key(&id, |open| open.id).is_ok() {
                    self.close(id, left, &mut over);
                }
            }
            _ => {}
        }
    }

    /// Ends those with that id and all later ones.
    fn close(&mut self, id: u64, at: Time, over: &mut impl FnMut(Span)) {
        while self.open.last().is_some_and(|last| last.id >= id) {
            let Some(Open { name, begun, .. }) = self.open.pop() else { return };
            let begun = begun.unwrap_or(at);
            over(Span { name, begun, ended: at, depth: self.open.len(), open: false });
        }
    }

    /// Those that are open, as if they ended then.
    pub(crate) fn open(&self, at: Time) -> impl Iterator<Item = Span> {
        self.open.iter().enumerate().map(move |(depth, open)| {
            let begun = open.begun.unwrap_or(at);
            Span { name: open.name.clone(), begun, ended: at.max(begun), depth, open: true }
        })
    }

    /// How many were not kept.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// The name that the call's first two words lead to.
fn name(call: &CallEvent<'_>) -> Box<str> {
    let [address, size, ..] = *call.words;
    let bytes = call.claims.read(address, size.min(NAME)).unwrap_or_default();
    let cut = if size > NAME { "..." } else { "" };
    format!("{}{cut}", String::from_utf8_lossy(&bytes)).into()
}
