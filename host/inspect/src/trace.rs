//! A trace: every exit and call of a run with its times, the guest's own spans, and the steps, for
//! tools that show such things.
//!
//! [`Trace`] is an [`Observer`] that keeps what it sees in memory, and writes it afterwards:
//!
//! ```no_run
//! use inspect::KvmKind;
//! use inspect::trace::{Format, Subject, Trace};
//! use portcall::abi::span;
//! use portcall::stock::StockSpans;
//! use portcall::{Image, Kvm, Vm};
//!
//! let (kvm, file) = (Kvm::open()?, std::fs::read("guest")?);
//! let (image, trace) = (Image::parse(&file)?, Trace::new());
//! let spans = StockSpans::heard();
//! Vm::builder(&kvm, &image).serve(spans).observe(trace.clone()).build()?.run()?;
//! let symbols = inspect::Symbols::new(&file, image.bias());
//! let subject = Subject { name: "guest", symbols: Some(&symbols), kind: KvmKind::detect() };
//! trace.write(Format::Events, &subject, &mut std::fs::File::create("trace.json")?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All times are the host's own (CLOCK_MONOTONIC), those of spans too: a span lasts from the KVM_RUN
//! behind its first call to the exit of its last. So it lines up with exits, and has no more of the
//! host in it than half an exit at each side. The guest's time stamp counter would have to be turned
//! into that clock, by an offset and a rate that not every KVM tells.

mod events;
pub(crate) mod format;
mod lines;
pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod spans;
mod text;

pub use format::{Format, Subject};

use portcall::{CallEvent, End, ExitEvent, Observer, Step};
use record::{Called, Recorded, Turn};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The most exits, ends and spans that are kept if nothing else is said, the last ones: 500,000.
/// Perfetto opens what that makes (161 MB) in seconds.
pub const EVENTS: usize = 500_000;

/// The most bytes of texts that are kept with them, in calls and names of spans.
const TEXTS: usize = 64 << 20;

/// An observer that keeps what a run does. Clones share what is kept.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Mutex<Recorded>>);

impl Trace {
    /// Time is 0 now. The last [`EVENTS`] are kept.
    #[must_use]
    pub fn new() -> Self {
        Self::keeping(EVENTS)
    }

    /// Time is 0 now. The last so many exits, ends and spans are kept, in some 130 bytes each, and
    /// their texts in 64 MiB; and all steps before the first exit.
    #[must_use]
    pub fn keeping(events: usize) -> Self {
        Self(Arc::new(Mutex::new(Recorded::new(Instant::now(), events, TEXTS))))
    }

    /// How many events were dropped, since there were more than are kept.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.kept().dropped()
    }

    /// How many are kept by now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept().count()
    }

    /// Writes what there is by now.
    ///
    /// # Errors
    /// `to` takes no more.
    pub fn write(
        &self,
        format: Format,
        subject: &Subject<'_, '_>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let kept = self.kept();
        match format {
            Format::Events => events::write(&kept, subject, to),
            Format::Text => text::write(&kept, subject, to),
            Format::Lines => lines::write(&kept, subject, to),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Trace {
    fn step(&mut self, step: &Step<'_>) {
        /// The answers to exits, which are in those.
        const ANSWER: u8 = 11;
        if step.number != ANSWER {
            let now = Instant::now();
            self.kept().step(step, now);
        }
    }

    fn wants_registers(&self) -> bool {
        true
    }

    fn exit(&mut self, event: &ExitEvent<'_>) {
        let mut kept = self.kept();
        let (entered, left) = (kept.time(event.entered), kept.time(event.left));
        kept.turn(Turn::of(event, entered, left));
    }

    fn wants_calls(&self) -> bool {
        true
    }

    fn call(&mut self, event: &CallEvent<'_>) {
        let mut kept = self.kept();
        kept.span_call(event);
        kept.called(Called { call: event.call.into(), result: event.result.into() });
    }

    fn end(&mut self, end: &End) {
        let now = Instant::now();
        self.kept().end(end.name(), now);
    }
}
