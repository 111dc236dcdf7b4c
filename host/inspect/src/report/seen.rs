//! What a report keeps of a run: sums by what an exit was, the run in bins, and its first and last
//! events one by one. None of it grows with the run.

use super::bins::{Bins, Class};
use crate::trace::format::title;
use crate::trace::record::{Called, Done, Time, Turn};
use crate::trace::spans::{Span, Spans};
use portcall::abi::port;
use portcall::exit::ExitKind;
use portcall::{CallEvent, End, Exit, ExitEvent, Observer, Step};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many events are kept one by one at each end of a run.
const EVENTS: usize = 600;
/// The most spans that are kept, the first ones.
const SPANS: usize = 400;
/// The most different things that exits are told apart by.
const KINDS: usize = 400;
/// The most steps; there are thirteen, and more where a host does them again.
const STEPS: usize = 64;
/// The most bytes of a text.
const TEXT: usize = 200;

/// What exits are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Call(u32),
    Port(u16, bool),
    Kind(ExitKind),
}

/// Exits of a kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) name: String,
    pub(crate) count: u64,
    /// Nanoseconds before them, and in their answers.
    pub(crate) guest: u64,
    pub(crate) host: u64,
    pub(crate) longest: u64,
}

impl Sum {
    const fn add(&mut self, guest: Time, host: Time) {
        self.count += 1;
        self.guest += guest;
        self.host += host;
        if host > self.longest {
            self.longest = host;
        }
    }

    /// Both together, under this one's name.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        self.count += other.count;
        self.guest += other.guest;
        self.host += other.host;
        self.longest = self.longest.max(other.longest);
        self
    }
}

/// All that is kept.
#[derive(Debug)]
pub(crate) struct Seen {
    start: Instant,
    pub(crate) steps: Vec<Done>,
    /// The exit that is being answered, and the number of its call.
    current: Option<(Turn, Option<u32>)>,
    sums: HashMap<Key, Sum>,
    /// Those that there was no room for.
    pub(crate) others: Sum,
    /// All exits of the guest's own, as [`portcall::Stats::exits`] counts them.
    pub(crate) all: Sum,
    /// Stops that the guest did not ask for: ticks, and breakpoints of whoever looks at it.
    pub(crate) stops: Sum,
    /// The guest's time before those, which is its next exit's.
    before: Time,
    /// How long it was held at them: this clock stands still for so long.
    held: Time,
    pub(crate) bins: Bins,
    pub(crate) first: Vec<Turn>,
    pub(crate) last: VecDeque<Turn>,
    spans: Spans,
    pub(crate) over: Vec<Span>,
    pub(crate) spans_dropped: u64,
    pub(crate) end: Option<(&'static str, Time)>,
    busy: Time,
}

impl Seen {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            steps: Vec::new(),
            current: None,
            sums: HashMap::new(),
            others: Sum::default(),
            all: Sum::default(),
            stops: Sum::default(),
            before: 0,
            held: 0,
            bins: Bins::default(),
            first: Vec::new(),
            last: VecDeque::new(),
            spans: Spans::default(),
            over: Vec::new(),
            spans_dropped: 0,
            end: None,
            busy: 0,
        }
    }

    fn time(&self, at: Instant) -> Time {
        let time = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(time).unwrap_or(u64::MAX).saturating_sub(self.held)
    }

    fn answered(&mut self, until: Time) {
        let Some((mut turn, number)) = self.current.take() else { return };
        turn.until = until.max(turn.left);
        let class = class_of(&turn);
        if class == Class::Stop {
            let (guest, held) = (turn.left - turn.entered, turn.until - turn.left);
            self.stops.add(0, held);
            self.before += guest;
            self.held += held;
            turn.until = turn.left;
            self.busy = turn.until;
            self.bins.add(&turn, class);
            return self.keep(turn);
        }
        self.busy = turn.until;
        self.bins.add(&turn, class);
        let guest = std::mem::take(&mut self.before) + (turn.left - turn.entered);
        let host = turn.until - turn.left;
        self.all.add(guest, host);
        let key = match (&turn.exit, number) {
            (_, Some(number)) => Key::Call(number),
            (Exit::Io(io), None) => Key::Port(io.port, io.read),
            (exit, None) => Key::Kind(exit.kind()),
        };
        if let Some(sum) = self.sums.get_mut(&key) {
            sum.add(guest, host);
        } else if self.sums.len() < KINDS {
            let mut sum = Sum { name: title(&turn), ..Sum::default() };
            sum.add(guest, host);
            self.sums.insert(key, sum);
        } else {
            self.others.add(guest, host);
        }
        self.keep(turn);
    }

    fn keep(&mut self, turn: Turn) {
        if self.first.len() < EVENTS {
            return self.first.push(turn);
        }
        if self.last.len() == EVENTS {
            self.last.pop_front();
        }
        self.last.push_back(turn);
    }

    fn span_call(&mut self, call: &CallEvent<'_>) {
        let Some((turn, _)) = &self.current else { return };
        let (over, dropped) = (&mut self.over, &mut self.spans_dropped);
        self.spans.call(call, turn.left, |span| {
            if over.len() < SPANS { over.push(span) } else { *dropped += 1 }
        });
    }

    /// The kinds of exits, those that took longest first.
    pub(crate) fn sums(&self) -> Vec<&Sum> {
        let mut sums: Vec<_> = self.sums.values().collect();
        sums.sort_by(|a, b| (b.guest + b.host, &a.name).cmp(&(a.guest + a.host, &b.name)));
        sums
    }

    /// The spans that have not ended.
    pub(crate) fn open(&self) -> Vec<Span> {
        self.spans.open(self.busy).take(SPANS).collect()
    }

    /// The exits that are kept one by one, in order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Turn> {
        self.first.iter().chain(&self.last)
    }

    /// How many exits there were between the first and the last.
    pub(crate) fn between(&self) -> u64 {
        self.all.count + self.stops.count - (self.first.len() + self.last.len()) as u64
    }

    /// The guest's time, of all KVM_RUNs.
    pub(crate) const fn in_guest(&self) -> Time {
        self.all.guest + self.before
    }

    /// That behind its last exit, up to a stop that was its end.
    pub(crate) const fn behind(&self) -> Time {
        self.before
    }

    /// From the first KVM_RUN to the end.
    pub(crate) fn span(&self) -> (Time, Time) {
        let begun = self.first.first().map_or(0, |first| first.entered);
        (begun, self.busy.max(begun))
    }
}

/// What an exit is drawn as.
pub(crate) fn class_of(turn: &Turn) -> Class {
    match &turn.exit {
        _ if turn.call.is_some() => Class::Call,
        Exit::Io(io) if matches!(io.port, port::CONSOLE | port::FLUSH) => Class::Console,
        Exit::Io(_) => Class::Port,
        exit => match exit.kind() {
            ExitKind::Mmio => Class::Memory,
            ExitKind::Interrupted | ExitKind::Debug => Class::Stop,
            _ => Class::Other,
        },
    }
}

/// An observer that keeps what a report says; clones share it. Time begins with it, and stands still
/// where the guest is held at a stop that it did not ask for: a sample's, a breakpoint's.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<Seen>>);

impl Recorder {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Seen::new())))
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// The first of a text.
fn cut(text: &str) -> Box<str> {
    match text.len() <= TEXT {
        true => text.into(),
        false => format!("{}\u{2026}", &text[..text.floor_char_boundary(TEXT)]).into(),
    }
}

impl Observer for Recorder {
    fn step(&mut self, step: &Step<'_>) {
        let now = Instant::now();
        let mut seen = self.seen();
        // The answers to exits are in those.
        if step.number == 11 || seen.steps.len() >= STEPS {
            return;
        }
        let until = seen.time(now);
        let time = u64::try_from(step.time.as_nanos()).unwrap_or(u64::MAX);
        seen.steps.push(Done {
            number: step.number,
            what: step.what.into(),
            detail: step.detail.to_string().into(),
            at: until.saturating_sub(time),
            until,
        });
    }

    fn wants_registers(&self) -> bool {
        true
    }

    fn exit(&mut self, event: &ExitEvent<'_>) {
        let mut seen = self.seen();
        let answered = seen.time(event.entered);
        seen.answered(answered);
        let (entered, left) = (seen.time(event.entered), seen.time(event.left));
        seen.spans.entered(entered);
        seen.current = Some((Turn::of(event, entered, left), None));
    }

    fn wants_calls(&self) -> bool {
        true
    }

    fn call(&mut self, event: &CallEvent<'_>) {
        let mut seen = self.seen();
        seen.span_call(event);
        if let Some((turn, number)) = &mut seen.current {
            turn.call = Some(Box::new(Called { call: cut(event.call), result: cut(event.result) }));
            *number = Some(event.number);
        }
    }

    fn end(&mut self, end: &End) {
        let now = Instant::now();
        let mut seen = self.seen();
        let answered = seen.time(now);
        seen.answered(answered);
        seen.end = Some((end.name(), seen.time(now)));
    }
}
