//! Where the time between two calls of the collector's went, by an observer.

use crate::collect::lock;
use crate::kept::Kept;
use portcall::{Exit, ExitEvent, Observer};
use std::ops::{AddAssign, Sub};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Exits and times, of all of a run or of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) exits: u64,
    /// In KVM_RUN.
    pub(crate) run: Duration,
    /// Between an exit and the next KVM_RUN.
    pub(crate) host: Duration,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.exits += other.exits;
        self.run += other.run;
        self.host += other.host;
    }
}

impl Sub for Totals {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            exits: self.exits - other.exits,
            run: self.run.saturating_sub(other.run),
            host: self.host.saturating_sub(other.host),
        }
    }
}

/// What an observer has seen; nothing without one.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    totals: Totals,
    /// The last exit, and when it was: how long its answer takes shows at the next one.
    last: Option<(Totals, Instant)>,
    is_watched: bool,
}

impl Seen {
    /// KVM_RUN was called and returned then; `is_guests` for an exit that the guest made.
    pub(crate) fn exit(&mut self, entered: Instant, left: Instant, is_guests: bool) {
        self.is_watched = true;
        if let Some((mut last, since)) = self.last.take() {
            last.host = entered.saturating_duration_since(since);
            self.totals += last;
        }
        let run = left.saturating_duration_since(entered);
        let exit = Totals { exits: u64::from(is_guests), run, host: Duration::ZERO };
        self.last = Some((exit, left));
    }

    /// The last exit was a call of the collector's own: it counts as none.
    pub(crate) const fn forget_last(&mut self) {
        self.last = None;
    }

    /// All but the last, if someone watches.
    pub(crate) fn totals(&self) -> Option<Totals> {
        self.is_watched.then_some(self.totals)
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
        // A signal while it runs on: 4 ms, and 3 ms.
        seen.exit(start + ms(3), start + ms(7), false);
        // Then a call of the collector's, after 10 ms.
        seen.exit(start + ms(10), start + ms(20), true);
        seen.forget_last();
        seen.exit(start + ms(90), start + ms(91), true);
        seen.forget_last();
        let wanted = Totals { exits: 1, run: ms(6), host: ms(4) };
        assert_eq!(seen.totals(), Some(wanted));
        assert_eq!(wanted - wanted, Totals::default());
    }
}
