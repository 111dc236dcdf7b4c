//! What a trace keeps: the last of all that happened, in bounded memory.

use super::spans::{Span, Spans};
use portcall::exit::ExitKind;
use portcall::{CallEvent, Exit, ExitEvent, Step};
use std::collections::VecDeque;
use std::time::Instant;

/// The most steps that are kept from before the first exit. There are thirteen, and more where a
/// host does them again.
const STEPS: usize = 64;

/// Nanoseconds since the trace began.
pub(crate) type Time = u64;

/// One KVM_RUN, and what the host did about its exit.
#[derive(Debug)]
pub(crate) struct Turn {
    /// When KVM_RUN was called.
    pub(crate) entered: Time,
    /// When it returned.
    pub(crate) left: Time,
    /// When the host was done with it.
    pub(crate) until: Time,
    pub(crate) exit: Exit,
    /// The first element of what is written, little-endian.
    pub(crate) written: Option<[u8; 4]>,
    pub(crate) rip: Option<u64>,
    pub(crate) call: Option<Box<Called>>,
}

impl Turn {
    /// That of an exit that came just now, between these moments.
    pub(crate) fn of(event: &ExitEvent<'_>, entered: Time, left: Time) -> Self {
        let mut first = [0; 4];
        for (to, from) in first.iter_mut().zip(event.written) {
            *to = *from;
        }
        Self {
            entered,
            left,
            until: left,
            exit: event.exit.clone(),
            written: (!event.written.is_empty()).then_some(first),
            rip: event.registers.map(|registers| registers.rip),
            call: None,
        }
    }
}

/// A typed call, in words.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) call: Box<str>,
    pub(crate) result: Box<str>,
}

/// A step of the host's.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) number: u8,
    pub(crate) what: Box<str>,
    pub(crate) detail: Box<str>,
    pub(crate) at: Time,
    pub(crate) until: Time,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Record {
    Turn(Turn),
    Step(Done),
    Span(Span),
    /// A run ended like this.
    End(&'static str, Time),
}

impl Record {
    /// When it began.
    pub(crate) const fn at(&self) -> Time {
        match self {
            Self::Turn(turn) => turn.entered,
            Self::Step(step) => step.at,
            Self::Span(span) => span.begun,
            Self::End(_, at) => *at,
        }
    }

    /// Bytes of its texts.
    fn texts(&self) -> usize {
        match self {
            Self::Turn(turn) => turn.call.as_ref().map_or(0, |it| it.call.len() + it.result.len()),
            Self::Step(step) => step.what.len() + step.detail.len(),
            Self::Span(span) => span.name.len(),
            Self::End(..) => 0,
        }
    }
}

/// All that is kept.
#[derive(Debug)]
pub(crate) struct Recorded {
    start: Instant,
    /// The steps before the first exit.
    steps: Vec<Done>,
    /// The exit that is being answered.
    current: Option<Turn>,
    spans: Spans,
    last: VecDeque<Record>,
    /// The most of them, and of their texts.
    most: (usize, usize),
    /// Bytes of the texts that there are.
    texts: usize,
    dropped: u64,
    /// Up to when the host was busy with something that is kept.
    busy: Time,
}

impl Recorded {
    pub(crate) fn new(start: Instant, events: usize, texts: usize) -> Self {
        Self {
            start,
            steps: Vec::new(),
            current: None,
            spans: Spans::default(),
            last: VecDeque::new(),
            most: (events, texts),
            texts: 0,
            dropped: 0,
            busy: 0,
        }
    }

    /// The trace's time of that moment.
    pub(crate) fn time(&self, at: Instant) -> Time {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// A step is done now.
    pub(crate) fn step(&mut self, step: &Step<'_>, now: Instant) {
        let until = self.time(now);
        let time = u64::try_from(step.time.as_nanos()).unwrap_or(u64::MAX);
        let done = Done {
            number: step.number,
            what: step.what.into(),
            detail: step.detail.to_string().into(),
            at: until.saturating_sub(time).max(self.busy),
            until,
        };
        self.busy = until;
        let before = self.current.is_none() && self.last.is_empty();
        if before && self.steps.len() < STEPS {
            self.steps.push(done);
        } else {
            self.push(Record::Step(done));
        }
    }

    /// An exit came; the one before was answered by when the guest was entered.
    pub(crate) fn turn(&mut self, turn: Turn) {
        self.answered(turn.entered);
        self.spans.entered(turn.entered);
        self.current = Some(turn);
    }

    /// The exit that is being answered was a call.
    pub(crate) fn called(&mut self, called: Called) {
        if let Some(turn) = &mut self.current {
            turn.call = Some(Box::new(called));
        }
    }

    /// What spans there are after this call.
    pub(crate) fn span_call(&mut self, call: &CallEvent<'_>) {
        let Some(left) = self.current.as_ref().map(|turn| turn.left) else { return };
        // Taken out, since those that end are put among the others.
        let mut spans = std::mem::take(&mut self.spans);
        spans.call(call, left, |span| self.push(Record::Span(span)));
        self.spans = spans;
    }

    /// The run is over.
    pub(crate) fn end(&mut self, name: &'static str, now: Instant) {
        let now = self.time(now);
        self.answered(now);
        self.push(Record::End(name, now));
    }

    fn answered(&mut self, until: Time) {
        if let Some(mut turn) = self.current.take() {
            self.busy = until.max(turn.left);
            // At a stop that the guest did not ask for a debugger may have held it: nobody's time.
            let is_stop = matches!(turn.exit.kind(), ExitKind::Interrupted | ExitKind::Debug);
            turn.until = if is_stop { turn.left } else { self.busy };
            self.push(Record::Turn(turn));
        }
    }

    /// Keeps it, in place of the first ones if there are too many.
    fn push(&mut self, record: Record) {
        self.texts += record.texts();
        self.last.push_back(record);
        let (events, texts) = self.most;
        while self.last.len() > events || self.texts > texts {
            let Some(first) = self.last.pop_front() else { break };
            self.texts -= first.texts();
            self.dropped += 1;
        }
    }

    /// How many are not there any more; spans that were too many at once among them.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped + self.spans.dropped()
    }

    /// How many there are, but for the steps before the first exit.
    pub(crate) fn count(&self) -> usize {
        self.last.len()
    }

    /// The steps before the first exit.
    pub(crate) fn steps(&self) -> &[Done] {
        &self.steps
    }

    /// All the others in the order of their beginnings; of those that begin at once, the outer first.
    pub(crate) fn records(&self) -> Vec<&Record> {
        let mut records: Vec<_> = self.last.iter().collect();
        records.sort_by_key(|record| {
            let depth = if let Record::Span(span) = record { span.depth } else { usize::MAX };
            (record.at(), depth)
        });
        records
    }

    /// The exit that nobody has answered: the host failed at it.
    pub(crate) const fn unanswered(&self) -> Option<&Turn> {
        self.current.as_ref()
    }

    /// The spans that have not ended: they last until now.
    pub(crate) fn open(&self) -> impl Iterator<Item = Span> {
        self.spans.open(self.last_time())
    }

    /// When the last thing that is known happened.
    fn last_time(&self) -> Time {
        self.current.as_ref().map_or(self.busy, |turn| turn.left.max(self.busy))
    }
}
