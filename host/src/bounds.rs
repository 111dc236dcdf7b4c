//! What may end a run from outside the guest: stoppers and limits, and the ticks at which they
//! are looked at.

use crate::error::ConfigError;
use crate::outcome::{End, Limit};
use crate::stop::{StopState, Watchdog};
use std::time::{Duration, Instant};

/// How often a VM with a time limit looks at the clock.
const CLOCK_TICK: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) stop: StopState,
    time_limit: Option<Duration>,
    tick: Option<Duration>,
    /// Set at the first KVM_RUN.
    deadline: Option<Instant>,
}

impl Bounds {
    pub(crate) fn new(time_limit: Option<Duration>, tick: Option<Duration>) -> Self {
        Self { time_limit, tick, ..Self::default() }
    }

    /// Starts the clock, the first time, and interrupts this thread at every tick for as long
    /// as the result lives; `None` where nothing needs a tick.
    pub(crate) fn watchdog(&mut self) -> Result<Option<Watchdog>, ConfigError> {
        let (first, period) = match self.time_limit {
            Some(limit) => {
                let now = Instant::now();
                let deadline = match self.deadline {
                    Some(deadline) => Some(deadline),
                    // A limit beyond the clock's own end is none.
                    None => now.checked_add(limit),
                };
                self.deadline = deadline;
                let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
                (left.unwrap_or(CLOCK_TICK).min(CLOCK_TICK), CLOCK_TICK)
            }
            None => match self.tick {
                Some(tick) => (tick, tick),
                None => return Ok(None),
            },
        };
        Watchdog::start(first, period).map(Some)
    }

    /// The end that a stopper or a limit asks for, if one does.
    pub(crate) fn reached(&self) -> Option<End> {
        if self.stop.requested() {
            return Some(End::Stopped);
        }
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.time_limit.filter(|_| late).map(|limit| End::LimitReached(Limit::Time(limit)))
    }
}
