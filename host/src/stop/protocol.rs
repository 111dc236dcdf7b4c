//! Who may signal whom: the states of a VM that other threads may stop.
//!
//! They are one word, so that every step is one atomic access:
//!
//! | state | meaning | left by |
//! | --- | --- | --- |
//! | `IDLE` | no thread runs the VM | `enter`, to `RUNNING`; `stop`, to `STOPPED` |
//! | `RUNNING` thread | that thread runs it, and may be in KVM_RUN | `leave`, to `IDLE`; `stop`, to `WAKING` |
//! | `WAKING` thread | a stop was asked for, and the stopper is about to signal the thread | the same `stop`, to `STOPPED` |
//! | `STOPPED` | a stop was asked for, and whoever had to know has its signal | nothing: once and for good |
//!
//! A thread that is `WAKING` does not leave before its signal was sent. So none is ever sent to a
//! thread that has gone on to something else, whose system calls it would interrupt, nor to
//! another thread that was given the same id. Only one stopper signals; to the others there is
//! nothing left to do.
//!
//! This file stands alone, atomics included, so that a test can run it under a model checker, by
//! which every order of its steps is tried.

use super::sync::{AtomicU64, Ordering};

const IDLE: u64 = 0;
const STOPPED: u64 = 1;
const RUNNING: u64 = 2;
const WAKING: u64 = 3;
/// The low bits are the state, those above them the thread's id.
const STATE_BITS: u32 = 2;
const STATE: u64 = (1 << STATE_BITS) - 1;

/// What there is to know before KVM_RUN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// A signal came: a tick, a stop, or one of the caller's own.
    pub(crate) signalled: bool,
    /// A stop was asked for.
    pub(crate) stopped: bool,
}

/// The states of one VM.
#[derive(Debug)]
pub(crate) struct Protocol(AtomicU64);

impl Protocol {
    /// `IDLE`.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(IDLE))
    }

    /// This thread is about to run the VM, and can be signalled from here on. `false` if it was
    /// stopped: then it must not run, and not [`leave`](Self::leave). A VM is run by one thread at
    /// a time.
    #[must_use]
    pub(crate) fn enter(&self, thread: u32) -> bool {
        let running = u64::from(thread) << STATE_BITS | RUNNING;
        self.0.compare_exchange(IDLE, running, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// This thread no longer runs the VM. `wait` passes some time: a stopper is between its
    /// decision to signal this thread and the signal.
    pub(crate) fn leave(&self, thread: u32, mut wait: impl FnMut()) {
        let running = u64::from(thread) << STATE_BITS | RUNNING;
        let left = self.0.compare_exchange(running, IDLE, Ordering::SeqCst, Ordering::SeqCst);
        if left.is_ok() {
            return;
        }
        while self.0.load(Ordering::SeqCst) & STATE == WAKING {
            wait();
        }
    }

    /// Asks for a stop. `signal` sends the signal to the thread that runs the VM, if one does.
    pub(crate) fn stop(&self, signal: impl FnOnce(u32)) {
        let mut now = self.0.load(Ordering::SeqCst);
        loop {
            let next = match now & STATE {
                IDLE => STOPPED,
                RUNNING => now & !STATE | WAKING,
                _ => return,
            };
            match self.0.compare_exchange(now, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) if next == STOPPED => return,
                Ok(_) => break,
                Err(changed) => now = changed,
            }
        }
        // It was made of a u32.
        signal(u32::try_from(now >> STATE_BITS).unwrap_or(0));
        self.0.store(STOPPED, Ordering::SeqCst);
    }

    /// What the thread that runs the VM looks at before each KVM_RUN: whether a signal came since
    /// the last time, which `take_signal` says and forgets; and then, whether a stop was asked for.
    /// In this order: a request that was too late for the look has its signal still to come.
    pub(crate) fn look(&self, take_signal: impl FnOnce() -> bool) -> Look {
        let signalled = take_signal();
        Look { signalled, stopped: self.requested() }
    }

    /// Whether a stop was asked for.
    pub(crate) fn requested(&self) -> bool {
        matches!(self.0.load(Ordering::SeqCst) & STATE, WAKING | STOPPED)
    }
}
