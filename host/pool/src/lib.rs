//! VMs prepared ahead: lent out in microseconds, given back, and reset for the next.
//!
//! ```
//! use pool::{Pool, Size, Wait};
//! use portcall::{Image, Kvm, Vm};
//!
//! // Adds 1 to a word in its memory, and halts.
//! let code = [0x48, 0xff, 0x05, 0xf9, 0x0f, 0x00, 0x00, 0xf4];
//! let word = portcall::Gpa((1 << 20) + 0x1000);
//! let kvm = Kvm::open()?;
//! let image = Image::flat(&code)?;
//! let fresh = Vm::builder(&kvm, &image).memory(2 << 20).build()?.snapshot()?;
//!
//! let pool = Pool::new(kvm, fresh, Size { ready: 1, most: 4 }, |vm| vm)?;
//! for _ in 0..3 {
//!     let mut vm = pool.take(Wait::Forever)?;
//!     vm.run()?;
//!     assert_eq!(vm.memory().load_u64(word)?, 1);
//! } // given back
//! assert_eq!(pool.counts().made, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does when
//!
//! - A VM is **made** when the pool is, or [`fill`](Pool::fill) is called, or when it is
//!   [taken](Pool::take) and none is ready while there are fewer than the most: always in the
//!   caller's thread. The pool starts none.
//! - It is **reset** when it is given back, in the thread that does so, so that one that is ready
//!   is as the snapshot has it, and a hand-out is a lock and a pop.
//! - It is **dropped**, and its place is free for another, when it is [given
//!   up](Lease::give_up), or when it is not known to be as the snapshot has it: a stopper has
//!   stopped it for good, the caller panicked, another VM stands in its place, the reset failed.
//!   Whatever else the guest came to, a fault among it, is undone by the reset.
//!
//! Those who wait are served in the order in which they came.
//!
//! # What the next caller has of the last
//!
//! Nothing that is in a [`Snapshot`]; nor does the last one's
//! [`Stopper`](portcall::Stopper) reach the next. What handlers, services, sinks, sources and
//! observers keep is their own, and stays: a VM has those that it was made with, for all its
//! callers. What a caller changes by ioctls of his own on
//! [`vcpu_fd`](portcall::Vm::vcpu_fd) is not undone: give such a VM up.
//!
//! # Across processes
//!
//! A VM belongs to the process that made it (KVM API documentation): after a fork the child cannot
//! use the pool.

mod error;
mod lease;
mod place;
mod state;

pub use error::{Error, Lost};
pub use lease::Lease;
pub use state::Counts;

use place::{Member, Place};
use portcall::restore::Effort;
use portcall::{Builder, Kvm, Snapshot};
use state::{Found, State};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Configure = dyn for<'a> Fn(Builder<'a>) -> Builder<'a> + Send + Sync;

/// How many VMs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// So many are prepared ahead.
    pub ready: usize,
    /// There are never more than so many, lent or not: at least 1, and as many as `ready`. Those
    /// that are dropped and wait to be closed by another thread ([`Kvm::for_many`]) are not counted.
    pub most: usize,
}

/// What is done where all VMs are lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Waits until one comes back.
    Forever,
    /// Waits so long, and then fails.
    AtMost(Duration),
    /// Fails at once.
    Never,
}

/// VMs of one snapshot. Its leases may outlive it; their VMs are dropped with them then.
pub struct Pool(Arc<Shared>);

/// What the pool and its leases share.
struct Shared {
    kvm: Arc<Kvm>,
    snapshot: Snapshot,
    configure: Box<Configure>,
    size: Size,
    state: Mutex<State>,
}

impl Pool {
    /// A pool of VMs of the snapshot, with so many prepared. `configure` adds to each what it is
    /// to have: services, ports, console, limits. Memory, ring and arguments are the snapshot's.
    ///
    /// # Errors
    /// The size contradicts itself; a VM cannot be made.
    pub fn new(
        kvm: impl Into<Arc<Kvm>>,
        snapshot: Snapshot,
        size: Size,
        configure: impl for<'a> Fn(Builder<'a>) -> Builder<'a> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        if size.most == 0 || size.ready > size.most {
            return Err(Error::Size { ready: size.ready, most: size.most });
        }
        let pool = Self(Arc::new(Shared {
            kvm: kvm.into(),
            snapshot,
            configure: Box::new(configure),
            size,
            state: Mutex::default(),
        }));
        pool.fill()?;
        Ok(pool)
    }

    /// Lends a VM that is as the snapshot has it, [reseeded](portcall::Vm::reseed).
    ///
    /// # Errors
    /// All are lent, and none came back as long as the caller would wait; one cannot be made.
    pub fn take(&self, wait: Wait) -> Result<Lease, Error> {
        let member = match self.0.find(wait)? {
            Found::Ready(member) => member,
            Found::Place => self.0.make()?,
        };
        let mut lease = Lease::of(member, &self.0);
        // What it makes of random bytes is not what the one before it made.
        lease.reseed().map_err(Error::Make)?;
        self.0.lock().counts.handed_out += 1;
        Ok(lease)
    }

    /// Makes VMs, in this thread, until as many are ready as there are to be: what were dropped
    /// are replaced before someone needs them. Gives how many were made.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn fill(&self) -> Result<usize, Error> {
        let mut made = 0;
        loop {
            let mut state = self.0.lock();
            if state.ready.len() >= self.0.size.ready || !state.reserve(self.0.size.most) {
                return Ok(made);
            }
            drop(state);
            let member = self.0.make()?;
            self.0.lock().add(member);
            made += 1;
        }
    }

    /// How many VMs are ready to be taken.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.0.lock().ready.len()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.lock().counts
    }
}

impl Shared {
    /// What stands in there holds between any two statements that may panic, so that a lock whose
    /// holder did is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A VM that is ready, or room for one.
    fn find(&self, wait: Wait) -> Result<Found, Error> {
        let most = self.size.most;
        let mut state = self.lock();
        // Not before those who came first.
        if state.queue.is_empty()
            && let Some(found) = state.find(most)
        {
            return Ok(found);
        }
        let start = Instant::now();
        let limit = match wait {
            Wait::Never => {
                state.counts.refused += 1;
                return Err(Error::Exhausted { most });
            }
            Wait::AtMost(limit) => Some(limit),
            Wait::Forever => None,
        };
        state.counts.waited += 1;
        let turn = Arc::new(Condvar::new());
        state.queue.push_back(Arc::clone(&turn));
        loop {
            if state.queue.front().is_some_and(|first| Arc::ptr_eq(first, &turn))
                && let Some(found) = state.find(most)
            {
                state.queue.pop_front();
                state.call_first();
                return Ok(found);
            }
            let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
            state = match left {
                None => turn.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => break,
                Some(left) => {
                    turn.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.queue.retain(|waiting| !Arc::ptr_eq(waiting, &turn));
        // One may have come back for this caller in the meantime.
        state.call_first();
        state.counts.refused += 1;
        Err(Error::TimedOut { most, waited: start.elapsed() })
    }

    /// Makes a VM for a place that is reserved, and resets it once: it takes the slow way then, and
    /// knows the fast one.
    fn make(&self) -> Result<Box<Member>, Error> {
        let place = Place::of(self);
        let builder = portcall::Vm::from_snapshot(&self.kvm, &self.snapshot);
        let mut vm = (self.configure)(builder).build().map_err(Error::Make)?;
        vm.restore(&self.snapshot).map_err(Error::Make)?;
        self.lock().counts.made += 1;
        place.keep();
        Ok(Box::new(Member::of(vm)))
    }

    /// Resets a VM that comes back, and has it ready; or drops it.
    fn take_back(&self, member: Box<Member>) -> Result<(), Lost> {
        // In this order, so that the place is free once the VM is gone.
        let (place, mut member) = (Place::of(self), member);
        let reset = member.reset(&self.snapshot);
        let mut state = self.lock();
        match reset {
            Ok(effort) if !state.closed => {
                state.counts.reset += 1;
                state.counts.rebuilt += u64::from(effort == Effort::All);
                state.add(member);
                drop(state);
                place.keep();
                Ok(())
            }
            // Both are dropped behind the lock.
            reset => {
                state.counts.dropped += 1;
                drop(state);
                reset.map(drop)
            }
        }
    }

    /// Drops a VM.
    fn give_up(&self, member: Box<Member>) {
        let _place = Place::of(self);
        self.lock().counts.dropped += 1;
        drop(member);
    }
}

impl Drop for Pool {
    /// Drops the VMs that are ready.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let ready = std::mem::take(&mut state.ready);
        drop(state);
        drop(ready);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Pool")
            .field("size", &self.0.size)
            .field("ready", &state.ready.len())
            .field("counts", &state.counts)
            .finish_non_exhaustive()
    }
}
