//! Where the time between two calls of the collector's went, by an observer.

use crate::collect::lock;
use crate::kept::Kept;
use portcall::{Exit, ExitEvent, Observer};
use std::ops::{AddAssign, Sub};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The most answers of a VM whose times are kept.
const ANSWERS_MAX: usize = 1 << 20;

/// Exits and the time up to them, of all of a run or of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Exits that the guest made.
    pub exits: u64,
    /// In KVM_RUN, up to those exits and to those that a signal made.
    pub run: Duration,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.exits += other.exits;
        self.run += other.run;
    }
}

impl Sub for Totals {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            exits: self.exits.saturating_sub(other.exits),
            run: self.run.saturating_sub(other.run),
        }
    }
}

/// What an observer has seen; nothing without one.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// All but the last.
    totals: Totals,
    /// Nanoseconds between each of the guest's exits and the next KVM_RUN.
    answers: Vec<f64>,
    /// The last exit, and when it was: how long its answer takes shows at the next one.
    last: Option<(Totals, Instant)>,
    is_watched: bool,
}

impl Seen {
    /// KVM_RUN was called and returned then; `is_guests` for an exit that the guest made.
    pub(crate) fn exit(&mut self, entered: Instant, left: Instant, is_guests: bool) {
        self.is_watched = true;
        if let Some((last, since)) = self.last.take() {
            self.totals += last;
            if last.exits > 0 && self.answers.len() < ANSWERS_MAX {
                let answer = entered.saturating_duration_since(since);
                self.answers.push(answer.as_secs_f64() * 1e9);
            }
        }
        let run = left.saturating_duration_since(entered);
        self.last = Some((Totals { exits: u64::from(is_guests), run }, left));
    }

    /// The last exit was a call of the collector's own: it counts as none.
    pub(crate) const fn forget_last(&mut self) {
        self.last = None;
    }

    /// All but the last, if someone watches.
    pub(crate) fn totals(&self) -> Option<Totals> {
        self.is_watched.then_some(self.totals)
    }

    /// The last with the others, if someone watches.
    pub(crate) fn with_last(&self) -> Option<Totals> {
        let mut totals = self.totals;
        totals += self.last.map_or_else(Totals::default, |(last, _)| last);
        self.is_watched.then_some(totals)
    }

    /// How long the answers to the exits behind `first` took, up to `last`; as many as were kept.
    pub(crate) fn answers(&self, first: Totals, last: Totals) -> &[f64] {
        let place = |it: u64| usize::try_from(it).unwrap_or(usize::MAX).min(self.answers.len());
        self.answers.get(place(first.exits)..place(last.exits)).unwrap_or_default()
    }
}

/// Tells the collector of exits.
pub(crate) struct Watcher(pub(crate) Arc<Mutex<Kept>>);

impl Observer for Watcher {
    fn exit(&mut self, event: &ExitEvent<'_>) {
        let is_guests = !matches!(event.exit, Exit::Interrupted | Exit::Debug | Exit::TaskPriority);
        lock(&self.0).watched.exit(event.entered, event.left, is_guests);
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, Totals};
    use std::time::{Duration, Instant};

    #[test]
    fn the_collectors_own_calls_count_as_none() {
        let ms = Duration::from_millis;
        let (start, mut seen) = (Instant::now(), Seen::default());
        assert_eq!(seen.totals(), None);
        // An exit of the guest's: 2 ms in KVM_RUN, 1 ms to answer.
        seen.exit(start, start + ms(2), true);
        assert_eq!(seen.totals(), Some(Totals::default()));
        assert_eq!(seen.with_last(), Some(Totals { exits: 1, run: ms(2) }));
        // A signal while it runs on: 4 ms, and 3 ms.
        seen.exit(start + ms(3), start + ms(7), false);
        // Then a call of the collector's, after 10 ms.
        seen.exit(start + ms(10), start + ms(20), true);
        seen.forget_last();
        seen.exit(start + ms(90), start + ms(91), true);
        seen.forget_last();
        let wanted = Totals { exits: 1, run: ms(6) };
        assert_eq!(seen.totals(), Some(wanted));
        assert_eq!(wanted - wanted, Totals::default());
        assert_eq!(seen.answers(Totals::default(), wanted), [1e6]);
        assert_eq!(seen.answers(wanted, wanted), [] as [f64; 0]);
    }
}
