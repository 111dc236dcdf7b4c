//! A VM of the pool, and its place among the most that there may be.

use crate::Shared;
use crate::error::Lost;
use portcall::restore::Effort;
use portcall::{Snapshot, Vm};

/// A VM of the pool.
pub(crate) struct Member {
    pub(crate) vm: Vm,
    /// Its own, when it was made: a caller has the VM mutably, and may put another in its place.
    id: u64,
}

impl Member {
    pub(crate) fn of(vm: Vm) -> Self {
        let id = vm.id();
        Self { vm, id }
    }

    /// Makes it what the snapshot has, for another caller.
    pub(crate) fn reset(&mut self, snapshot: &Snapshot) -> Result<Effort, Lost> {
        if std::thread::panicking() {
            return Err(Lost::Panicked);
        }
        // What another VM has for services, sinks and limits is not the pool's.
        if self.vm.id() != self.id {
            return Err(Lost::Replaced);
        }
        if self.vm.is_stopped() {
            return Err(Lost::Stopped);
        }
        self.vm.change_hands();
        self.vm.restore(snapshot).map_err(Lost::Reset)
    }
}

/// A place that is taken, and free again when this is dropped, a panic or an error between.
pub(crate) struct Place<'s>(&'s Shared);

impl<'s> Place<'s> {
    /// One that was reserved, or is that of a VM.
    pub(crate) const fn of(shared: &'s Shared) -> Self {
        Self(shared)
    }

    /// A VM has it now.
    pub(crate) const fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.places -= 1;
        state.call_first();
    }
}
