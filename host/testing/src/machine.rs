//! The VM that all others come of: from its start to where it waits for calls.

use crate::text::Text;
use abi::host::Level;
use inspect::drive::{self, Driver};
use inspect::{Explanation, KvmKind, printable};
use portcall::sparse::Pagemap;
use portcall::stock::{Stock, StockSpans};
use portcall::{Builder, End, Error, Image, Kvm, Limit, Outcome, Ring, Snapshot, Vm};
use std::io::{self, Write};
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
    /// How long a test may take that says nothing itself; and what is before them all.
    pub timeout: Duration,
    /// What tests print is passed on to stdout at once, in place of being kept for those that fail.
    pub at_once: bool,
}

impl Default for Options {
    fn default() -> Self {
        let memory = portcall::layout::MEMORY_DEFAULT;
        Self { memory, ring: Ring::Zero, timeout: Duration::from_secs(60), at_once: false }
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
    /// What the guest printed up to here.
    pub printed: Vec<u8>,
}

impl<'a> Machine<'a> {
    /// Makes the first VM; `elf` is the whole file that `image` was read from. Nothing of the guest
    /// runs yet: a process that confines itself does so behind this.
    ///
    /// # Errors
    /// The VM cannot be made.
    pub fn new(
        kvm: Kvm,
        image: &'a Image<'a>,
        elf: &'a [u8],
        options: Options,
    ) -> Result<Self, MachineError> {
        let text = Text::default();
        let builder = Vm::builder(&kvm, image).memory(options.memory).ring(options.ring);
        let builder = builder.limit(Limit::Time(options.timeout));
        let vm = equip(builder, &text, options.at_once).build()?;
        Ok(Self { kvm, image, elf, options, vm, text, pagemap: Pagemap::open() })
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
        let Self { kvm, image, elf, options, text, .. } = self;
        Ok(Ready { kvm, image, elf, options, snapshot, kind, printed: text.take() })
    }

    fn not_ready(&self, outcome: &Outcome, kind: KvmKind) -> Result<NotReady, Error> {
        let explanation = inspect::explain(&self.vm, self.image, outcome, self.elf, kind)?;
        Ok(NotReady { end: outcome.end.clone(), printed: self.text.take(), explanation })
    }
}

impl Ready<'_> {
    /// Another VM of the snapshot.
    pub(crate) fn vm(&self, text: &Text) -> Result<Vm, Error> {
        let builder = Vm::from_snapshot(&self.kvm, &self.snapshot);
        equip(builder, text, self.options.at_once).limit(Limit::Console(PRINTED_MAX)).build()
    }
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
