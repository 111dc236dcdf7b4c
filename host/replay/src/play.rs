//! Replaying: the tape that answers by a log, and finds the first difference.

use crate::entry::{Done, Entry, Mark};
use crate::error::LogError;
use crate::log::Entries;
use crate::redo::{Reached, Short, redo};
use crate::words;
use portcall::note::NotedInterface;
use portcall::tape::{Answered, Effect, Given, Question, Tape, Text};
use portcall::{End, Guest, Limit, Memory};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// How a replay went.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Verdict {
    /// The guest has done what the recorded one did, so far. If that is the run's end, it was
    /// ended by the replay's own limit or stop.
    #[default]
    Unfinished,
    /// The guest did the same from its first exit to its end.
    Same,
    /// It did something else: the end says what.
    Diverged,
    /// It did the same up to the end of a log that was cut short, and was stopped there.
    Cut,
    /// The log could not be read on the way, though it could before.
    Failed(LogError),
}

/// How a replay went, seen from outside the VM.
#[derive(Clone, Debug, Default)]
pub struct Found(Arc<Mutex<Verdict>>);

impl Found {
    /// What there is to say by now. An error is given once.
    #[must_use]
    pub fn get(&self) -> Verdict {
        let mut verdict = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *verdict {
            Verdict::Unfinished => Verdict::Unfinished,
            Verdict::Same => Verdict::Same,
            Verdict::Diverged => Verdict::Diverged,
            Verdict::Cut => Verdict::Cut,
            failed @ Verdict::Failed(_) => std::mem::replace(failed, Verdict::Cut),
        }
    }

    fn set(&self, verdict: Verdict) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }
}

/// The tape that answers by a log. Handlers, services, the input and limits that the VM has
/// besides are not asked.
pub struct Player {
    entries: Entries,
    /// What comes next, if it was looked at already.
    ahead: Option<Entry>,
    /// What the image says of the calls it makes.
    notes: Vec<NotedInterface>,
    found: Found,
    /// How much text there was where the recorded run was ended while the guest ran.
    watched: Option<u64>,
    /// The end that the log has for the answer that is being given, and how much text it has by
    /// then.
    expected: Option<(End, Reach, Mark)>,
    /// The same, where it is the log's to make.
    pending: Option<End>,
    over: bool,
}

/// Up to where a replay comes before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To the very instruction: the end was an answer.
    Exact,
    /// A little further: the recorded run was ended while the guest ran, or its text was cut.
    Further,
}

/// How far a replay comes with an end that was the answer to an exit.
pub(crate) const fn reach_of(end: &End) -> Reach {
    match end {
        End::LimitReached(Limit::Console(_)) => Reach::Further,
        _ => Reach::Exact,
    }
}

pub(crate) fn player(
    entries: Entries,
    watched: Option<u64>,
    notes: Vec<NotedInterface>,
) -> (Player, Found) {
    let found = Found::default();
    let player = Player {
        entries,
        ahead: None,
        notes,
        found: found.clone(),
        watched,
        expected: None,
        pending: None,
        over: false,
    };
    (player, found)
}

impl Player {
    /// Looks at what comes next.
    fn peek(&mut self) -> Option<&Entry> {
        if self.ahead.is_none() {
            match self.entries.next() {
                Ok(entry) => self.ahead = entry,
                Err(error) => {
                    self.found.set(Verdict::Failed(error));
                    self.over = true;
                }
            }
        }
        self.ahead.as_ref()
    }

    fn take(&mut self) -> Option<Entry> {
        self.peek()?;
        self.ahead.take()
    }

    /// The run is to end like this, in the answer that is being given.
    fn end_with(&mut self, end: End) {
        self.over = true;
        self.pending = Some(end);
    }

    fn diverge(&mut self, expected: String, actual: String) {
        self.found.set(Verdict::Diverged);
        self.end_with(End::Diverged { expected, actual });
    }

    /// The log says no more.
    fn run_out(&mut self) {
        if !self.over {
            self.found.set(Verdict::Cut);
        }
        self.end_with(End::Stopped);
    }

    /// The difference between the text so far and the log's.
    fn text_differs(&mut self, mark: Mark, text: Text, reach: Reach) -> Option<Difference> {
        self.entries.mark(mark);
        let (bytes, hash) = self.entries.text.filter(|_| text.lost == 0)?;
        let start = text.start.filter(|_| reach == Reach::Further && self.watched == Some(bytes));
        if (bytes, hash) == (text.bytes, text.hash) || start == Some(hash) {
            return None;
        }
        let told = |bytes: u64| match bytes {
            1 => "1 byte of text by then".to_owned(),
            _ => format!("{bytes} bytes of text by then"),
        };
        let others = || "as many, but not the same".to_owned();
        let as_many = bytes == text.bytes || start.is_some();
        let now = if as_many { others() } else { told(text.bytes) };
        Some((told(bytes), now))
    }

    /// Does what the host did between two exits, all of it.
    fn between(&mut self, guest: &mut Guest<'_>, reached: Reached<'_>) -> Option<Difference> {
        while matches!(self.peek(), Some(Entry::Between(_))) {
            let Some(Entry::Between(done)) = self.take() else { break };
            match redo(&done, guest, reached) {
                Ok(()) => {}
                Err(Short::Differs(piece)) => return Some(piece.told(guest.memory())),
                Err(Short::Reached(end)) => {
                    self.end_with(end);
                    break;
                }
            }
        }
        None
    }

    /// The exit is the recorded one: what the guest is given, if that is for the log to say.
    fn answer(
        &mut self,
        guest: &mut Guest<'_>,
        reached: Reached<'_>,
        by_host: bool,
        ends: bool,
        given: Given,
    ) -> Option<Given> {
        let end = if ends {
            let Some(Entry::End(end, mark)) = self.take() else {
                self.run_out();
                return Some(Given::Nothing);
            };
            Some((end, mark))
        } else {
            None
        };
        if let Some((expected, actual)) = self.between(guest, reached) {
            self.diverge(expected, actual);
        }
        if self.pending.is_some() {
            return Some(Given::Nothing);
        }
        let Some((end, mark)) = end else { return by_host.then_some(given) };
        match self.peek() {
            // The host could make no sense of what it had answered.
            Some(Entry::End(End::CallRefused { .. }, _)) => return self.end_between(),
            // It went on from there: the host has called it, or ran it on after HLT. If it was
            // ended while it ran, a tick finds out.
            Some(Entry::Exit(..) | Entry::End(..)) => {
                // What the end itself says of the text is what the next entry may build on.
                self.entries.mark(mark);
                return Some(Given::Nothing);
            }
            _ => {}
        }
        self.expected = Some((end.clone(), reach_of(&end), mark));
        let from_outside = matches!(end, End::LimitReached(_) | End::Stopped);
        if by_host || from_outside {
            self.pending = Some(end);
        }
        by_host.then_some(given)
    }

    /// The recorded run was ended while the guest ran, or waited.
    fn end_between(&mut self) -> Option<Given> {
        if let Some(Entry::End(end, mark)) = self.take() {
            self.expected = Some((end.clone(), Reach::Further, mark));
            self.pending = Some(end);
        }
        Some(Given::Nothing)
    }
}

/// What was expected, and what there was.
type Difference = (String, String);

impl Tape for Player {
    fn start(&mut self, _: &portcall::tape::Machine<'_>, memory: &Memory) {
        // Before its first exit nothing can be said to differ.
        while matches!(self.peek(), Some(Entry::Between(_))) {
            let Some(Entry::Between(done)) = self.take() else { return };
            for done in &done {
                if let Done::Write { at, bytes } = done {
                    let _ = memory.write(*at, bytes);
                }
            }
        }
    }

    fn watched(&self) -> Option<u64> {
        self.watched
    }

    fn asked(
        &mut self,
        guest: &mut Guest<'_>,
        question: &Question<'_>,
        reached: Reached<'_>,
    ) -> Option<Given> {
        let what = &question.what;
        let (asked, mark, done, gave, ends) = match self.peek() {
            Some(Entry::Exit(..)) => match self.take() {
                Some(Entry::Exit(asked, mark, done, gave, ends)) => (asked, mark, done, gave, ends),
                _ => return None,
            },
            // The guest came this far before it was to end.
            Some(Entry::End(..)) => return self.end_between(),
            Some(_) => {
                let actual = words::what(what, guest, &self.notes);
                self.diverge("the end of the run".to_owned(), actual);
                return Some(Given::Nothing);
            }
            None => {
                self.run_out();
                return Some(Given::Nothing);
            }
        };
        let same = asked.is(what);
        let text = if same { self.text_differs(mark, question.text, Reach::Exact) } else { None };
        if let Some((expected, actual)) = text {
            self.diverge(expected, actual);
            return Some(Given::Nothing);
        }
        let differs = match if same { redo(&done, guest, reached) } else { Ok(()) } {
            Ok(()) => None,
            Err(Short::Differs(piece)) => Some(piece.told(guest.memory())),
            Err(Short::Reached(end)) => {
                self.end_with(end);
                return Some(Given::Nothing);
            }
        };
        if !same || differs.is_some() {
            let mut expected = words::asked(&asked, &done, &self.notes);
            let mut actual = words::what(what, guest, &self.notes);
            let differs = differs.or_else(|| words::asked_apart(&asked, what));
            if let Some((recorded, now)) = differs.filter(|_| expected == actual) {
                expected = format!("{expected} with {recorded}");
                actual = format!("{actual} with {now}");
            }
            self.diverge(expected, actual);
            return Some(Given::Nothing);
        }
        self.answer(guest, reached, asked.by_host(), ends.0, gave.given())
    }

    fn answered(&mut self, _: &Answered<'_>) -> Option<End> {
        self.pending.take()
    }

    fn between(&mut self, _: &[Effect]) {}

    fn tick(&mut self, text: Text) -> Option<End> {
        match self.peek() {
            Some(Entry::End(_, mark)) => {
                let mark = *mark;
                self.entries.mark(mark);
                let so_far = text.bytes.saturating_add(text.lost);
                if self.entries.text.is_some_and(|(bytes, _)| so_far < bytes) {
                    return None;
                }
                self.end_between();
            }
            // A recording that was completed with no end in it says no more either.
            Some(Entry::Close(_)) | None => self.run_out(),
            Some(_) => return None,
        }
        self.pending.take()
    }

    fn ended(&mut self, end: End, text: Text) -> End {
        if self.over {
            return end;
        }
        self.over = true;
        let expected = match self.expected.take() {
            Some((expected, reach, mark)) if expected == end => {
                let Some((expected, actual)) = self.text_differs(mark, text, reach) else {
                    self.found.set(Verdict::Same);
                    return end;
                };
                self.found.set(Verdict::Diverged);
                return End::Diverged { expected, actual };
            }
            Some((expected, ..)) => {
                self.found.set(Verdict::Diverged);
                let (expected, actual) = words::ends(&expected, &end);
                return End::Diverged { expected, actual };
            }
            // The replay's own limit or stop.
            None if matches!(end, End::LimitReached(_) | End::Stopped) => return end,
            None => {
                self.peek();
                words::next(self.ahead.as_ref(), &self.notes)
            }
        };
        self.found.set(Verdict::Diverged);
        End::Diverged { expected, actual: end.to_string() }
    }
}

impl fmt::Debug for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Player({:?})", self.found)
    }
}
