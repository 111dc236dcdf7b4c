//! A VM that waits for the host's calls, and what comes of one input in it.

use crate::target::Target;
use abi::tests::Client;
use inspect::{Explanation, Frame, KvmKind};
use portcall::sparse::Pagemap;
use portcall::stock::{Stock, StockSpans};
use portcall::{
    Builder, CallError, End, Error, Image, Kvm, Limit, Outcome, Ring, Snapshot, Stopper, Vm,
};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most text of one execution, in bytes: one that prints on and on ends there.
const PRINTED_MAX: u64 = 1 << 20;

/// What of it is kept.
const KEPT: usize = 64 * 1024;

/// How long the guest may take to come to where it waits.
const SET_UP: Duration = Duration::from_secs(60);

/// What the VMs are like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of RAM.
    pub memory: u64,
    /// The ring.
    pub ring: Ring,
    /// How long one input may take.
    pub timeout: Duration,
}

/// Why there is nothing to fuzz in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The host failed.
    #[error(transparent)]
    Host(#[from] Error),
    /// The guest did not come to where it waits for calls.
    #[error("the guest did not come to where it waits for calls: {}", .0.end)]
    NotReady(Box<NotReady>),
    /// It defines the calls otherwise.
    #[error("the guest does not answer: {0}")]
    Call(String),
}

impl Default for Options {
    fn default() -> Self {
        let memory = portcall::layout::MEMORY_DEFAULT;
        Self { memory, ring: Ring::Three, timeout: Duration::from_secs(1) }
    }
}

/// What came instead.
#[derive(Debug)]
pub struct NotReady {
    /// How it ended.
    pub end: End,
    /// What it printed.
    pub printed: Vec<u8>,
    /// What there is to say about it.
    pub explanation: Explanation,
}

/// What came of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// The function returned.
    Back,
    /// The run was stopped from outside, which says nothing of the input.
    Stopped,
    /// The guest ended: a finding.
    Ended(End),
}

/// One VM of the guest, as it is: nothing in its memory is ours.
pub struct Machine<'a> {
    pub(crate) kvm: Kvm,
    pub(crate) image: &'a Image<'a>,
    pub(crate) elf: &'a [u8],
    pub(crate) options: Options,
    pub(crate) target: Target,
    pub(crate) pagemap: Pagemap,
    kind: KvmKind,
    vm: Vm,
    printed: Printed,
    /// One that was made alike, for who has breakpoints in it, with where its text goes: none can be made in
    /// a jail.
    pub(crate) spare: Option<(Vm, Printed)>,
}

/// The same where it waits for calls.
pub struct Ready<'a> {
    pub(crate) machine: Machine<'a>,
    pub(crate) snapshot: Snapshot,
}

impl<'a> Machine<'a> {
    /// Makes the VM, and the one that inputs are first tried in; `elf` is the whole file that `image` was
    /// read from. Nothing of the guest runs yet: a process that confines itself does so behind this.
    ///
    /// # Errors
    /// A VM cannot be made.
    pub fn new(
        kvm: Kvm,
        image: &'a Image<'a>,
        elf: &'a [u8],
        target: Target,
        options: Options,
    ) -> Result<Self, MachineError> {
        let printed = Printed::default();
        let builder = || Vm::builder(&kvm, image).memory(options.memory).ring(options.ring);
        let vm = equip(builder(), &printed).limit(Limit::Time(SET_UP)).build()?;
        let others = Printed::default();
        let spare = Some((equip(builder(), &others).build()?, others));
        let (pagemap, kind) = (Pagemap::open(), KvmKind::detect());
        Ok(Self { kvm, image, elf, options, target, pagemap, kind, vm, printed, spare })
    }

    /// Runs the guest to where it waits for calls.
    ///
    /// # Errors
    /// It ends in another way; the host failed.
    pub fn set_up(mut self) -> Result<Ready<'a>, MachineError> {
        let outcome = self.vm.run()?;
        if outcome.end != End::Serving {
            let explanation = self.explain(&self.vm, &outcome)?;
            let (end, printed) = (outcome.end, self.printed.take());
            return Err(MachineError::NotReady(Box::new(NotReady { end, printed, explanation })));
        }
        let snapshot = self.vm.snapshot_with(&self.pagemap)?;
        Ok(Ready { machine: self, snapshot })
    }

    /// What there is to say about the end of a run: up to the function that is fuzzed.
    pub(crate) fn explain(&self, vm: &Vm, outcome: &Outcome) -> Result<Explanation, Error> {
        let mut explanation = inspect::explain(vm, self.image, outcome, self.elf, self.kind)?;
        let runtime = explanation.backtrace.iter().position(is_runtime);
        explanation.show_registers &= !explanation.normal;
        explanation.backtrace.truncate(runtime.unwrap_or(usize::MAX).max(1));
        Ok(explanation)
    }

    /// How long one input may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.target.timeout.unwrap_or(self.options.timeout)
    }
}

impl Ready<'_> {
    /// A handle by which a signal's handler ends what runs in this VM, for good.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.machine.vm.stopper()
    }

    /// Whether that was done.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.machine.vm.is_stopped()
    }

    /// Runs one input, from the snapshot on.
    ///
    /// # Errors
    /// The host failed; the guest does not answer as it should.
    pub fn run(&mut self, input: &[u8]) -> Result<Came, MachineError> {
        let Self { machine, snapshot } = self;
        let limit = machine.timeout();
        machine.vm.restore(snapshot)?;
        machine.printed.take();
        came(Client(machine.vm.door().within(limit)).fuzz(machine.target.entry.0, input))
    }

    pub(crate) fn outcome(&mut self) -> Result<Option<Outcome>, Error> {
        self.machine.vm.outcome()
    }

    /// How the last run ended, if the guest did.
    ///
    /// # Errors
    /// The host failed.
    pub fn explanation(&mut self) -> Result<Option<(Outcome, Explanation)>, Error> {
        let Some(outcome) = self.machine.vm.outcome()? else { return Ok(None) };
        let explanation = self.machine.explain(&self.machine.vm, &outcome)?;
        Ok(Some((outcome, explanation)))
    }

    /// What it printed.
    #[must_use]
    pub fn printed(&self) -> Vec<u8> {
        self.machine.printed.take()
    }
}

/// What a call's result says of its input.
pub(crate) fn came(
    result: Result<Result<(), abi::calls::Refusal>, CallError>,
) -> Result<Came, MachineError> {
    match result {
        Ok(Ok(())) => Ok(Came::Back),
        Ok(Err(refusal)) => Err(MachineError::Call(refusal.to_string())),
        Err(CallError::Ended(End::Stopped)) => Ok(Came::Stopped),
        Err(CallError::Ended(end)) => Ok(Came::Ended(end)),
        Err(CallError::Host(error)) => Err(error.into()),
        Err(other) => Err(MachineError::Call(inspect::printable(&other.to_string()))),
    }
}

/// What each VM has: the stock interfaces, and where its text goes.
pub(crate) fn equip<'b>(builder: Builder<'b>, printed: &Printed) -> Builder<'b> {
    let mut log = printed.clone();
    builder
        .serve(Stock::new())
        .serve(StockSpans::unheard())
        .console(printed.clone())
        // A line of the guest's log, among what it prints; a sink in memory takes all.
        .log(move |level, line| {
            let _ = writeln!(log, "{}: {}", level.name(), inspect::printable(line));
        })
        .limit(Limit::Console(PRINTED_MAX))
}

/// Whether a frame is of what the guest library calls such functions by.
fn is_runtime(frame: &Frame) -> bool {
    frame.source.as_ref().is_some_and(|it| it.file.ends_with("guest/src/tests.rs"))
}

/// A sink that keeps the first of what it gets, for whoever has a clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what there is.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.lock())
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.lock();
        let room = KEPT - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
