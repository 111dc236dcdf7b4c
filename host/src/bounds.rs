//! What may end a run from outside the guest: stoppers and limits, and the ticks at which they
//! are looked at.

use crate::error::ConfigError;
use crate::limit::{Limit, Limits};
use crate::outcome::End;
use crate::stop::{StopState, Watchdog};
use std::time::{Duration, Instant};

/// How often a VM with a limit of time or text looks at it.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// How often a sink or a source of the host's that blocks is interrupted, where there are no ticks:
/// a stop's own signal may come right before it blocks.
const WAIT_TICK: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) stop: StopState,
    /// The VM's own.
    limits: Limits,
    /// The time of this run or call.
    time_limit: Option<Duration>,
    /// What is left to it of exits and calls.
    exits_left: u64,
    calls_left: u64,
    /// How often the caller wants a tick.
    tick: Option<Duration>,
    /// Set at the first KVM_RUN of a run or call, with a time limit.
    deadline: Option<Instant>,
    /// When the next tick is due, for those who step.
    next_tick: Option<Instant>,
}

impl Bounds {
    pub(crate) fn new(limits: Limits, tick: Option<Duration>) -> Self {
        let mut bounds = Self { limits, tick, ..Self::default() };
        bounds.start_afresh(None);
        bounds
    }

    /// All is counted anew, and the clock begins again at the next KVM_RUN: for a call, with a time
    /// of its own if it has one.
    pub(crate) fn start_afresh(&mut self, limit: Option<Duration>) {
        self.time_limit = limit.or(self.limits.time);
        self.exits_left = self.limits.exits.unwrap_or(u64::MAX);
        self.calls_left = self.limits.calls.unwrap_or(u64::MAX);
        (self.deadline, self.next_tick) = (None, None);
    }

    /// Whether something has to be looked at while the guest makes no exit.
    const fn looks(&self) -> bool {
        self.time_limit.is_some() || self.limits.console.is_some()
    }

    /// How often there is a tick.
    fn period(&self) -> Option<Duration> {
        match self.tick {
            Some(tick) if self.looks() => Some(tick.min(CLOCK_TICK)),
            None if self.looks() => Some(CLOCK_TICK),
            tick => tick,
        }
    }

    /// Starts the clock, the first time. This thread is interrupted at every tick as long as what
    /// is returned lives; nowhere else are ticks any use.
    pub(crate) fn start(&mut self) -> Result<Option<Watchdog>, ConfigError> {
        let Some(period) = self.period() else { return Ok(None) };
        let now = Instant::now();
        if let Some(limit) = self.time_limit {
            // A limit beyond the clock's own end is none.
            self.deadline = self.deadline.or_else(|| now.checked_add(limit));
        }
        let due = *self.next_tick.get_or_insert(now + period);
        let first = self.deadline.map_or(due, |deadline| deadline.min(due));
        match Watchdog::start(first.saturating_duration_since(now), period) {
            Ok(watchdog) => Ok(Some(watchdog)),
            // Text that appears later is no reason not to run.
            Err(_) if !self.looks() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The clock stood still for so long. A deadline beyond the clock's own end is none.
    pub(crate) fn stood_still(&mut self, time: Duration) {
        self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(time));
    }

    /// Interrupts this thread while it waits for a sink or a source, if ticks do not.
    pub(crate) fn interrupt_wait(&self) -> Option<Watchdog> {
        if self.period().is_some() {
            return None;
        }
        // Without one a stop still holds, but for its very first microseconds.
        Watchdog::start(WAIT_TICK, WAIT_TICK).ok()
    }

    /// Whether a tick is due by the clock.
    pub(crate) fn is_due(&mut self) -> bool {
        let (Some(next), Some(period)) = (self.next_tick, self.period()) else { return false };
        let now = Instant::now();
        if now < next {
            return false;
        }
        // On the same grid: counted from here, ticks would fall in step with a guest that makes its
        // exits in step, and always between two of its runs.
        let into = now.duration_since(next).as_nanos() % period.as_nanos().max(1);
        let left = period.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)));
        self.next_tick = now.checked_add(left);
        true
    }

    /// Counts an exit of the guest's, which may be a typed call; the end it is, if there are none
    /// left.
    pub(crate) fn count(&mut self, is_call: bool) -> Option<End> {
        let Some(exits) = self.exits_left.checked_sub(1) else {
            return self.limits.exits.map(|most| End::LimitReached(Limit::Exits(most)));
        };
        let Some(calls) = self.calls_left.checked_sub(is_call.into()) else {
            return self.limits.calls.map(|most| End::LimitReached(Limit::Calls(most)));
        };
        (self.exits_left, self.calls_left) = (exits, calls);
        None
    }

    /// The end that a stopper or the clock asks for, if one does.
    pub(crate) fn reached(&self) -> Option<End> {
        if self.stop.requested() {
            return Some(End::Stopped);
        }
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.time_limit.filter(|_| late).map(|limit| End::LimitReached(Limit::Time(limit)))
    }
}
