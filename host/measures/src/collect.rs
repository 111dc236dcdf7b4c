//! Collects what guests measure: the other side of `guest::measure`.

use crate::kept::{Kept, Wrong};
pub use crate::watch::Totals;
use crate::watch::Watcher;
use portcall::abi::calls::{Interface, Serve};
use portcall::abi::lab::{self, Lab};
use portcall::service::{Call, NoAnswer, Service};
use portcall::sys::KvmStats;
use portcall::{End, Guest, Observer, Vm};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a guest measured under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The guest's own word, at most 200 characters.
    pub name: String,
    /// Operations that one sample is the mean of.
    pub operations: u32,
    /// Samples that the guest took first and left out, as it says.
    pub warm_up: u32,
    /// Samples that it was to take.
    pub planned: u32,
    /// Nanoseconds that the timer takes itself: the median of all samples of nothing.
    pub timer: f64,
    /// The same of each block of samples: the median of those of nothing right before and right
    /// behind it.
    pub timers: Vec<f64>,
    /// Nanoseconds an operation, in the order they were taken; what the timer took beside its block
    /// was subtracted from each before it was divided by its operations, so that one may be negative.
    pub samples: Vec<f64>,
    /// Samples that came besides, and were too many to be kept (2^20 of a VM are, and as many of the
    /// timer's).
    pub dropped: u64,
    /// Guest instructions an operation, where KVM counts them (`insn_emulation`, which is all of
    /// them where ring 0 is emulated).
    pub instructions: Option<f64>,
    /// What an observer saw, where there was [one](Collector::watcher).
    pub watched: Option<Watched>,
    /// Whether the guest came to the measurement's end.
    pub is_complete: bool,
}

/// What an operation takes of this process, as an observer sees it: it takes times at each exit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// Exits to this process an operation.
    pub exits: f64,
    /// Nanoseconds an operation between such exits and the next KVM_RUN: the median of an exit's, as
    /// often as there are exits.
    pub ours: f64,
}

/// Keeps what one VM's guest measures; clones share it.
///
/// ```
/// # let kvm = portcall::Kvm::open()?;
/// # let image = portcall::Image::flat(&[0xf4])?;
/// let collector = measures::collect::Collector::new();
/// let mut vm = portcall::Vm::builder(&kvm, &image).serve(collector.service()).build()?;
/// collector.opened(&vm);
/// vm.run()?;
/// assert!(collector.sampled().is_empty());
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<Kept>>);

impl Collector {
    /// One that has nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What answers the guest's calls of [`abi::lab`](portcall::abi::lab).
    pub fn service(&self) -> impl Service + use<> {
        Answers(self.clone())
    }

    /// An observer that sees where the time goes, for [`Sampled::watched`].
    pub fn watcher(&self) -> impl Observer + use<> {
        Watcher(Arc::clone(&self.0))
    }

    /// What the [watcher](Self::watcher) has seen by now, for what begins and ends on the host; `None`
    /// where there is none, or no exit yet.
    #[must_use]
    pub fn seen(&self) -> Option<Totals> {
        self.kept().watched.with_last()
    }

    /// Asks KVM how fast the guest's clock goes (KVM_GET_TSC_KHZ), and opens its counters: once the
    /// VM is built, and before a jail that refuses this. Without it every measurement is refused.
    pub fn opened(&self, vm: &Vm) {
        let khz = vm.vcpu_fd().get_tsc_khz().ok().filter(|khz| *khz > 0);
        // An old kernel has no counters, and that is no failure.
        let counters = KvmStats::open(vm.vcpu_fd()).ok();
        let mut kept = self.kept();
        kept.khz = khz;
        kept.counters = counters;
    }

    /// What was measured so far, in the order it was begun.
    #[must_use]
    pub fn sampled(&self) -> Vec<Sampled> {
        self.kept().sampled()
    }

    /// What the guest could not measure: names and reasons, in its words.
    #[must_use]
    pub fn absent(&self) -> Vec<(String, String)> {
        self.kept().absent.clone()
    }

    /// How many measurements, and rows without one, came besides and were too many to be kept.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.kept().left_out
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.0)
    }
}

pub(crate) fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers calls.
struct Answers(Collector);

impl Service for Answers {
    fn interface(&self) -> &'static Interface {
        &lab::INTERFACE
    }

    fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer> {
        let mut kept = self.0.kept();
        kept.watched.forget_last();
        // Ticks are others in each run, and nothing that the guest gets depends on them.
        let mut claims = guest.claims().unrecorded();
        let mut server = lab::Server(Taking { kept: &mut kept, done: Ok(()) });
        let count = server.serve(call.method, call.words, &mut claims)?;
        let Err(Wrong(why)) = server.0.done else { return Ok(count) };
        let method =
            usize::try_from(call.method).ok().and_then(|at| lab::INTERFACE.methods.get(at));
        let method = method.map_or("", |method| method.name);
        let call = format!("{}::{method}", lab::INTERFACE.name);
        Err(End::CallRefused { call, why: why.to_owned() }.into())
    }
}

/// One call, and whether it was right.
struct Taking<'k> {
    kept: &'k mut Kept,
    done: Result<(), Wrong>,
}

impl Lab for Taking<'_> {
    fn begin(&mut self, name: &str, operations: u32, samples: u32, warm_up: u32) {
        self.done = self.kept.begin(name, operations, samples, warm_up);
    }

    fn timer(&mut self, ticks: &[u8]) {
        self.done = self.kept.timer(ticks);
    }

    fn samples(&mut self, ticks: &[u8]) {
        self.done = self.kept.samples(ticks);
    }

    fn end(&mut self) {
        self.done = self.kept.end();
    }

    fn absent(&mut self, name: &str, why: &str) {
        self.kept.absent(name, why);
    }
}
