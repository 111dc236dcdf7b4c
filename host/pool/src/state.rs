//! What stands behind the lock: no more is done while it is held than moves and counts.

use crate::place::Member;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar};

/// What a pool has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// VMs made.
    pub made: u64,
    /// Leases.
    pub handed_out: u64,
    /// VMs that came back and were reset.
    pub reset: u64,
    /// Those of them that had to be put back as a whole
    /// ([`Effort::All`](portcall::restore::Effort)), which takes some 100 us in place of 7.
    pub rebuilt: u64,
    /// VMs that came back and were dropped: given up, not to be reset, or the pool was gone.
    pub dropped: u64,
    /// Callers who had to wait.
    pub waited: u64,
    /// Callers who got none.
    pub refused: u64,
}

#[derive(Default)]
pub(crate) struct State {
    /// As the snapshot has them. The last that came back is the first to go: its pages are the
    /// likeliest to be in the processor's caches.
    #[expect(clippy::vec_box, reason = "a VM is not to be copied when it is lent")]
    pub(crate) ready: Vec<Box<Member>>,
    /// VMs that there are, or are about to be.
    pub(crate) places: usize,
    /// Those who wait, in the order in which they came.
    pub(crate) queue: VecDeque<Arc<Condvar>>,
    /// There is no pool any more.
    pub(crate) closed: bool,
    pub(crate) counts: Counts,
}

/// What a caller can have.
pub(crate) enum Found {
    Ready(Box<Member>),
    /// A place to make one for, which is reserved.
    Place,
}

impl State {
    pub(crate) fn find(&mut self, most: usize) -> Option<Found> {
        if let Some(member) = self.ready.pop() {
            return Some(Found::Ready(member));
        }
        self.reserve(most).then_some(Found::Place)
    }

    /// Reserves a place, if there is one.
    pub(crate) const fn reserve(&mut self, most: usize) -> bool {
        let free = self.places < most;
        if free {
            self.places += 1;
        }
        free
    }

    /// Has a VM ready.
    pub(crate) fn add(&mut self, member: Box<Member>) {
        self.ready.push(member);
        self.call_first();
    }

    /// Has the first of those who wait look again.
    pub(crate) fn call_first(&self) {
        if let Some(first) = self.queue.front() {
            first.notify_one();
        }
    }
}
