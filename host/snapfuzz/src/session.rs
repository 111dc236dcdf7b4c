//! One run of the fuzzer: what it is bounded by, what it counts, and what becomes of an input that
//! ends the guest.

use crate::blocks::Blocks;
use crate::covered::Covered;
use crate::engine;
use crate::finding::{Finding, key, kind, name, place};
use crate::machine::{Came, MachineError, Ready};
use crate::minimise::minimise;
use portcall::{Error, Outcome, Stopper};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// The most findings of a run: beyond, nobody reads them.
const FINDINGS_MAX: usize = 100;

/// How many ends of one place are looked at: several findings may be there, and many ends of one.
const LOOKED_AT: u32 = 16;

/// The most executions that making an input smaller takes, and the longest time.
const MINIMISED_BY: usize = 4000;
const MINIMISED_IN: Duration = Duration::from_secs(10);

/// How a run is bounded, and where it begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number that mutations come of.
    pub seed: u64,
    /// The most executions.
    pub runs: Option<u64>,
    /// The longest time.
    pub time: Option<Duration>,
    /// The most bytes of an input, up to [`DATA_MAX`](abi::tests::DATA_MAX).
    pub max_len: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 0, runs: None, time: None, max_len: 4096 }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Status {
    /// Executions, without those that make inputs smaller.
    pub executions: u64,
    /// How long it has taken.
    pub elapsed: Duration,
    /// Executions a second since the last status, or at the end of all.
    pub rate: f64,
    /// Blocks that were reached.
    pub reached: usize,
    /// And all there are.
    pub blocks: usize,
    /// Inputs that reached something new.
    pub kept: usize,
    /// Different findings.
    pub findings: usize,
    /// Executions that ended the guest.
    pub ended: u64,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Over {
    /// The time is.
    Time,
    /// All executions were made.
    Runs,
    /// It was stopped from outside.
    Stopped,
    /// Each of the first inputs ends the guest, the empty one among them: there is nothing to
    /// mutate.
    AllEnd,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How far it came.
    pub status: Status,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Why it is over.
    pub over: Over,
}

/// Who is told what happens.
pub trait Listener {
    /// An input reached something new, and is kept.
    fn kept(&mut self, input: &[u8]);
    /// Something was found.
    fn found(&mut self, finding: &Finding);
    /// After 1, 2, 4 ... 32 seconds, and every 32 then.
    fn status(&mut self, status: &Status);
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Listener for Silent {
    fn kept(&mut self, _: &[u8]) {}
    fn found(&mut self, _: &Finding) {}
    fn status(&mut self, _: &Status) {}
}

/// Two VMs, and what they have come to.
pub struct Session<'a> {
    ready: Ready<'a>,
    covered: Covered,
    words: BTreeSet<Vec<u8>>,
    status: Status,
    findings: Vec<Finding>,
    /// How many ends of each place were looked at.
    places: HashMap<String, u32>,
    keys: HashSet<String>,
    over: Option<Over>,
}

/// A session with its bounds, as the engine sees it.
pub(crate) struct Run<'r, 'a> {
    session: &'r mut Session<'a>,
    settings: &'r Settings,
    listener: &'r mut dyn Listener,
    start: Instant,
    /// When the next status is due, how long after that the one behind it, and what there was at the
    /// last one.
    due: Instant,
    period: Duration,
    last: (Instant, u64),
}

impl<'a> Session<'a> {
    /// Puts breakpoints into the second VM.
    ///
    /// # Errors
    /// The host failed.
    pub fn new(mut ready: Ready<'a>) -> Result<Self, Error> {
        let Blocks { starts, words } = Blocks::of(ready.machine.image, ready.machine.elf);
        let covered = Covered::new(&mut ready, &starts)?;
        Ok(Self {
            ready,
            covered,
            words,
            status: Status::default(),
            findings: Vec::new(),
            places: HashMap::new(),
            keys: HashSet::new(),
            over: None,
        })
    }

    /// Handles by which a signal's handler ends it.
    #[must_use]
    pub fn stoppers(&self) -> [Stopper; 2] {
        [self.ready.stopper(), self.covered.stopper()]
    }

    /// Fuzzes, with these inputs to begin with.
    ///
    /// # Errors
    /// The host failed.
    pub fn fuzz(
        mut self,
        inputs: Vec<Vec<u8>>,
        settings: &Settings,
        listener: &mut dyn Listener,
    ) -> Result<Summary, MachineError> {
        let start = Instant::now();
        let words = std::mem::take(&mut self.words);
        let period = Duration::from_secs(1);
        let run = Run {
            session: &mut self,
            settings,
            listener,
            start,
            due: start + period,
            period,
            last: (start, 0),
        };
        engine::fuzz(run, inputs, words)?;
        let over = self.over.unwrap_or(Over::Stopped);
        let mut status = self.status(start.elapsed());
        status.rate = rate(status.executions, status.elapsed);
        Ok(Summary { status, findings: self.findings, over })
    }

    fn status(&self, elapsed: Duration) -> Status {
        let (reached, blocks) = self.covered.blocks();
        Status { elapsed, reached, blocks, findings: self.findings.len(), ..self.status }
    }

    fn is_stopped(&self) -> bool {
        self.covered.is_stopped() || self.ready.is_stopped()
    }
}

impl Run<'_, '_> {
    /// The bounds.
    pub(crate) const fn settings(&self) -> &Settings {
        self.settings
    }

    /// Whether every execution so far has ended the guest: nothing is worth a mutation then.
    pub(crate) fn nothing_comes_back(&mut self) -> bool {
        let status = &self.session.status;
        let all = self.session.over.is_none() && status.ended == status.executions;
        if all {
            self.session.over = Some(Over::AllEnd);
        }
        all
    }

    /// How many executions have ended the guest.
    pub(crate) const fn ended(&self) -> u64 {
        self.session.status.ended
    }

    /// Whether it is over, and why was noted.
    pub(crate) fn is_over(&mut self) -> bool {
        let Self { session, settings, .. } = self;
        if session.over.is_none() {
            let runs = settings.runs.is_some_and(|most| session.status.executions >= most);
            let time = settings.time.is_some_and(|most| self.start.elapsed() >= most);
            session.over = match (session.is_stopped(), runs, time) {
                (true, ..) => Some(Over::Stopped),
                (_, true, _) => Some(Over::Runs),
                (.., true) => Some(Over::Time),
                _ => None,
            };
        }
        session.over.is_some()
    }

    /// Runs one input; whether it is worth to be kept, or nothing where the run is over.
    pub(crate) fn execute(&mut self, input: &[u8]) -> Result<Option<bool>, MachineError> {
        if self.is_over() {
            return Ok(None);
        }
        let session = &mut *self.session;
        let (came, is_new) = session.covered.run(&session.ready, input)?;
        let is_kept = match came {
            Came::Stopped => return Ok(None),
            Came::Back => is_new,
            Came::Ended(_) => {
                session.status.ended += 1;
                self.look_at(input)?;
                false
            }
        };
        let session = &mut *self.session;
        session.status.executions += 1;
        if is_kept {
            session.status.kept += 1;
            self.listener.kept(input);
        }
        self.say();
        Ok(Some(is_kept))
    }

    fn say(&mut self) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        let mut status = self.session.status(now - self.start);
        let (then, executions) = std::mem::replace(&mut self.last, (now, status.executions));
        status.rate = rate(status.executions - executions, now - then);
        self.listener.status(&status);
        self.due = now + self.period;
        self.period = (self.period * 2).min(Duration::from_secs(32));
    }

    /// An input has ended the guest in the VM with breakpoints.
    fn look_at(&mut self, input: &[u8]) -> Result<(), MachineError> {
        let session = &mut *self.session;
        let Some(outcome) = session.covered.outcome()? else { return Ok(()) };
        let looked_at = session.places.entry(place(&outcome)).or_default();
        *looked_at += 1;
        if *looked_at > LOOKED_AT || session.findings.len() >= FINDINGS_MAX {
            return Ok(());
        }
        let Some(finding) = session.finding(input, &outcome)? else { return Ok(()) };
        self.listener.found(&finding);
        session.findings.push(finding);
        Ok(())
    }
}

impl Session<'_> {
    /// What an input has found, unless it is known.
    fn finding(
        &mut self,
        input: &[u8],
        outcome: &Outcome,
    ) -> Result<Option<Finding>, MachineError> {
        let again = self.ready.run(input)?;
        if again == Came::Stopped {
            return Ok(None);
        }
        let explained = self.ready.explanation()?;
        let is_same = |it: &Outcome| place(it) == place(outcome);
        let same = explained.filter(|(it, _)| matches!(again, Came::Ended(_)) && is_same(it));
        let Some((_, explanation)) = same else {
            return self.another(input, outcome, &again);
        };
        let end = &outcome.end;
        let key = key(end, &explanation);
        if !self.keys.insert(key.clone()) {
            return Ok(None);
        }
        let mut finding = Finding {
            name: name(end, &key),
            input: input.to_vec(),
            found: input.len(),
            explanation,
            printed: self.ready.printed(),
            differs: None,
        };
        let least = self.least(input, outcome)?;
        if let Came::Ended(end) = self.ready.run(&least)?
            && let Some((_, explanation)) = self.ready.explanation()?
            && crate::finding::key(&end, &explanation) == key
        {
            let printed = self.ready.printed();
            finding = Finding { input: least, explanation, printed, ..finding };
        }
        Ok(Some(finding))
    }

    /// It came to something else the second time.
    fn another(
        &mut self,
        input: &[u8],
        outcome: &Outcome,
        again: &Came,
    ) -> Result<Option<Finding>, MachineError> {
        let explanation = self.ready.machine.explain(self.covered.vm(), outcome)?;
        let key = key(&outcome.end, &explanation);
        if !self.keys.insert(key.clone()) {
            return Ok(None);
        }
        let differs = match again {
            Came::Ended(end) => inspect::printable(&end.to_string()),
            Came::Back | Came::Stopped => "the function returned".to_owned(),
        };
        Ok(Some(Finding {
            name: name(&outcome.end, &key),
            input: input.to_vec(),
            found: input.len(),
            explanation,
            printed: self.covered.printed(),
            differs: Some(differs),
        }))
    }

    /// The least of an input that ends the guest in the same way at the same place.
    fn least(&mut self, input: &[u8], outcome: &Outcome) -> Result<Vec<u8>, MachineError> {
        let (place_then, kind_then) = (place(outcome), kind(&outcome.end));
        let (until, mut left) = (Instant::now() + MINIMISED_IN, MINIMISED_BY);
        minimise(input, |it| {
            if left == 0 || Instant::now() >= until || self.is_stopped() {
                return Ok(None);
            }
            left -= 1;
            match self.ready.run(it)? {
                Came::Ended(end) if kind(&end) == kind_then => {
                    let outcome = self.ready.outcome()?;
                    Ok(Some(outcome.is_some_and(|it| place(&it) == place_then)))
                }
                _ => Ok(Some(false)),
            }
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is for people")]
fn rate(executions: u64, time: Duration) -> f64 {
    executions as f64 / time.as_secs_f64().max(1e-6)
}
