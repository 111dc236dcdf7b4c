//! What goes wrong, and what to do.

use std::time::Duration;

/// Why there is no VM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The size contradicts itself.
    #[error(
        "a pool with {ready} VMs ready of at most {most} cannot be: `most` is at least 1, and at \
         least `ready`"
    )]
    Size {
        /// How many are to be ready.
        ready: usize,
        /// How many there may be.
        most: usize,
    },
    /// All are lent, and the caller would not wait.
    #[error(
        "all of the pool's VMs are lent ({most}, the most it may have): give one back, wait \
         (Wait::AtMost), or let it have more (Size::most)"
    )]
    Exhausted {
        /// How many there may be.
        most: usize,
    },
    /// None came back in time.
    #[error(
        "no VM came back in {waited:?}, and all are lent ({most}, the most the pool may have): \
         bound what their users do (Limit::Time), wait longer, or let it have more (Size::most)"
    )]
    TimedOut {
        /// How many there may be.
        most: usize,
        /// How long the caller waited.
        waited: Duration,
    },
    /// A VM cannot be made. The next `take` tries again.
    #[error("the pool cannot make a VM: {0}")]
    Make(#[source] portcall::Error),
}

/// Why a VM was not kept. It was dropped, and the pool makes another when one is needed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// A stopper has stopped it, which is for good.
    #[error(
        "the VM was stopped for good, so it was dropped; a limit (Limit::Time) ends a run without that"
    )]
    Stopped,
    /// Its user panicked, maybe in the middle of something.
    #[error("the thread that gives the VM back panics, so it was dropped")]
    Panicked,
    /// Another VM stands in its place.
    #[error(
        "the lease holds another VM than the pool lent, so that was dropped; do not assign to what \
         a lease leads to"
    )]
    Replaced,
    /// KVM failed.
    #[error("the VM could not be reset, so it was dropped: {0}")]
    Reset(#[source] portcall::Error),
}
