//! The VM that all others come of: from its start to where it waits for calls.

use crate::text::Text;
use abi::host::Level;
use inspect::drive::{self, Driver};
use inspect::{Explanation, KvmKind, printable};
use portcall::sparse::Pagemap;
use portcall::stock::{Stock, StockSpans};
use portcall::{Builder, End, Error, Image, Kvm, Limit, Outcome, Ring, Snapshot, Vm};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The most text of a test, in bytes: one that prints on and on ends there.
const PRINTED_MAX: u64 = 16 << 20;

/// How often text of a guest that makes no exit is handed on, where it is shown at once.
const TICK: Duration = Duration::from_millis(100);

/// What the VMs are like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of RAM.
    pub memory: u64,
    /// The ring.
    pub ring: Ring,
    /// How many are made before anything runs, for as many tests at a time. Where more run, theirs are
    /// made then.
    pub vms: usize,
    /// How long a test may take that says nothing itself; and what is before them all.
    pub timeout: Duration,
    /// What tests print is passed on to stdout at once, in place of being kept for those that fail.
    pub at_once: bool,
}

impl Default for Options {
    fn default() -> Self {
        let memory = portcall::layout::MEMORY_DEFAULT;
        let timeout = Duration::from_secs(60);
        Self { memory, ring: Ring::Zero, vms: 1, timeout, at_once: false }
    }
}

/// Why there are no VMs to run tests in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The host failed.
    #[error(transparent)]
    Host(#[from] Error),
    /// The guest did not come to where it waits for calls.
    #[error("the guest did not come to its tests: {}", .0.end)]
    NotReady(Box<NotReady>),
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

/// A VM that has not run yet, and all that is needed to make others of it.
pub struct Machine<'a> {
    kvm: Kvm,
    image: &'a Image<'a>,
    elf: &'a [u8],
    options: Options,
    vm: Vm,
    text: Text,
    spare: Vec<(Vm, Text)>,
    pagemap: Pagemap,
}

/// A guest that waits for calls: what VMs are made of.
pub struct Ready<'a> {
    pub(crate) kvm: Kvm,
    pub(crate) image: &'a Image<'a>,
    /// The image's whole file.
    pub(crate) elf: &'a [u8],
    pub(crate) options: Options,
    pub(crate) snapshot: Snapshot,
    pub(crate) kind: KvmKind,
    /// VMs that were made alike, with where their text goes, and that nobody has taken.
    spare: Mutex<Vec<(Vm, Text)>>,
    /// What the guest printed up to here.
    pub printed: Vec<u8>,
}

impl<'a> Machine<'a> {
    /// Makes the first VM and those of [`Options::vms`]; `elf` is the whole file that `image` was read
    /// from. Nothing of the guest runs yet: a process that confines itself does so behind this.
    ///
    /// # Errors
    /// A VM cannot be made.
    pub fn new(
        kvm: Kvm,
        image: &'a Image<'a>,
        elf: &'a [u8],
        options: Options,
    ) -> Result<Self, MachineError> {
        let text = Text::default();
        let builder = || Vm::builder(&kvm, image).memory(options.memory).ring(options.ring);
        let first = builder().limit(Limit::Time(options.timeout));
        let vm = equip(first, &text, options.at_once).build()?;
        let spare = || {
            let text = Text::default();
            Ok((tester(builder(), &text, options.at_once)?, text))
        };
        let spare = (0..options.vms).map(|_| spare()).collect::<Result<_, Error>>()?;
        Ok(Self { kvm, image, elf, options, vm, text, spare, pagemap: Pagemap::open() })
    }

    /// Runs the guest to where it waits for calls; `driver` goes along.
    ///
    /// # Errors
    /// It ends in another way; the host failed.
    pub fn set_up(
        mut self,
        driver: Option<&mut (dyn Driver + 'static)>,
    ) -> Result<Ready<'a>, MachineError> {
        let outcome = match driver {
            Some(driver) => drive::run(&mut self.vm, vec![driver])?,
            None => self.vm.run()?,
        };
        let kind = KvmKind::detect();
        if outcome.end != End::Serving {
            return Err(MachineError::NotReady(Box::new(self.not_ready(&outcome, kind)?)));
        }
        let snapshot = self.vm.snapshot_with(&self.pagemap)?;
        let Self { kvm, image, elf, options, text, spare, .. } = self;
        let (spare, printed) = (Mutex::new(spare), text.take());
        Ok(Ready { kvm, image, elf, options, snapshot, kind, spare, printed })
    }

    fn not_ready(&self, outcome: &Outcome, kind: KvmKind) -> Result<NotReady, Error> {
        let explanation = inspect::explain(&self.vm, self.image, outcome, self.elf, kind)?;
        Ok(NotReady { end: outcome.end.clone(), printed: self.text.take(), explanation })
    }
}

impl Ready<'_> {
    /// A VM that can be restored to the snapshot, and where its text goes.
    pub(crate) fn vm(&self) -> Result<(Vm, Text), Error> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(spare) = spare {
            return Ok(spare);
        }
        let text = Text::default();
        let builder = Vm::from_snapshot(&self.kvm, &self.snapshot);
        Ok((tester(builder, &text, self.options.at_once)?, text))
    }
}

/// A VM that tests run in.
fn tester(builder: Builder<'_>, text: &Text, at_once: bool) -> Result<Vm, Error> {
    equip(builder, text, at_once).limit(Limit::Console(PRINTED_MAX)).build()
}

/// What each of them has: the stock interfaces, and where its text goes.
fn equip<'b>(builder: Builder<'b>, text: &Text, at_once: bool) -> Builder<'b> {
    let builder = builder.serve(Stock::new()).serve(StockSpans::unheard());
    if at_once {
        return builder.console(Stdout).log(|level, line| log(&mut Stdout, level, line)).tick(TICK);
    }
    let mut sink = text.clone();
    builder.console(text.clone()).log(move |level, line| log(&mut sink, level, line))
}

/// A line of the guest's log, among what it prints.
fn log(to: &mut dyn Write, level: Level, line: &str) {
    // Whether anyone reads it is found out where results are written.
    let _ = writeln!(to, "{}: {}", level.name(), printable(line));
}

/// The process's stdout, written at once.
#[derive(Clone, Copy, Debug)]
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
