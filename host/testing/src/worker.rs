//! One VM, which runs one test after the other.

use crate::judge::{Verdict, judge};
use crate::list::Test;
use crate::machine::Ready;
use crate::text::Text;
use abi::tests::Client;
use inspect::drive::{self, Driver};
use inspect::{Frame, Style};
use portcall::{Error, Vm};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// What a test came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether it passed.
    pub passed: bool,
    /// What it printed; nothing where that was shown at once.
    pub printed: Vec<u8>,
    /// What there is to say of a failure, as lines.
    pub why: String,
    /// How long the call took.
    pub time: Duration,
}

/// Has a VM of the snapshot, and restores it before each test but the first.
pub struct Worker<'a> {
    ready: &'a Ready<'a>,
    vm: Option<Vm>,
    text: Text,
    style: Style,
    /// Goes along with each test.
    driver: Option<&'a mut (dyn Driver + 'static)>,
}

impl<'a> Worker<'a> {
    /// One without a VM yet: it takes one with its first test.
    #[must_use]
    pub fn new(ready: &'a Ready<'a>, style: Style) -> Self {
        Self { ready, vm: None, text: Text::default(), style, driver: None }
    }

    /// The same with a driver that goes along with each test.
    #[must_use]
    pub fn driven_by(mut self, driver: &'a mut (dyn Driver + 'static)) -> Self {
        self.driver = Some(driver);
        self
    }

    /// Runs a test.
    ///
    /// # Errors
    /// The host failed.
    pub fn run(&mut self, test: &Test) -> Result<Report, Error> {
        let start = Instant::now();
        let mut vm = self.fresh()?;
        let limit = test.timeout.unwrap_or(self.ready.options.timeout);
        let called = match &mut self.driver {
            None => Client(vm.door().within(limit)).run(test.entry.0),
            Some(driver) => {
                let mut by = |vm: &mut Vm| Ok(drive::run(vm, vec![&mut **driver])?.end);
                Client(vm.door().within(limit).by(&mut by)).run(test.entry.0)
            }
        };
        let time = start.elapsed();
        let verdict = judge(test, called)?;
        let why = match verdict {
            Verdict::Passed => None,
            Verdict::Failed { why, explain } => Some(self.explain(&mut vm, why, explain)?),
        };
        self.vm = Some(vm);
        Ok(Report {
            passed: why.is_none(),
            printed: self.text.take(),
            why: why.unwrap_or_default(),
            time,
        })
    }

    /// A VM as the snapshot has it.
    fn fresh(&mut self) -> Result<Vm, Error> {
        let snapshot = &self.ready.snapshot;
        let mut vm = match self.vm.take() {
            Some(vm) => vm,
            None => {
                let (vm, text) = self.ready.vm()?;
                self.text = text;
                vm
            }
        };
        // The slow way first, whatever the VM was made of, so that the next are fast.
        vm.restore(snapshot)?;
        vm.reseed()?;
        vm.change_hands();
        Ok(vm)
    }

    /// What happened, where, and how the guest got there.
    fn explain(&self, vm: &mut Vm, why: String, explain: bool) -> Result<String, Error> {
        let mut text = String::new();
        if explain && let Some(outcome) = vm.outcome()? {
            let Ready { image, elf, kind, .. } = self.ready;
            let mut explanation = inspect::explain(vm, image, &outcome, elf, *kind)?;
            // What has called the test is the same for all.
            let runtime = explanation.backtrace.iter().position(is_runtime);
            explanation.show_registers &= !explanation.normal;
            explanation.backtrace.truncate(runtime.unwrap_or(usize::MAX).max(1));
            text = explanation.render(self.style);
        }
        if !why.is_empty() {
            // A String takes everything.
            let _ = writeln!(text, "{why}");
        }
        Ok(text)
    }
}

/// Whether a frame is of what the guest library calls tests by.
fn is_runtime(frame: &Frame) -> bool {
    frame.source.as_ref().is_some_and(|it| it.file.ends_with("guest/src/tests.rs"))
}
