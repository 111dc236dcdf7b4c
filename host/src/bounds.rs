//! What may end a run from outside the guest: stoppers and limits, and the ticks at which they
//! are looked at.

use crate::error::ConfigError;
use crate::limit::{Limit, Limits};
use crate::outcome::End;
use crate::stop::{StopState, ThreadToken, Watchdog};
use std::time::{Duration, Instant};

/// How often a VM with a limit of time or text looks at it.
const CLOCK_TICK: Duration = Duration::from_millis(20);

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
    /// How often the caller wants a tick, and how often there is one.
    tick: Option<Duration>,
    period: Option<Duration>,
    /// Set at the first KVM_RUN of a run or call, with a time limit.
    deadline: Option<Instant>,
    /// The timer of the thread that runs the VM.
    watchdog: Option<(ThreadToken, Watchdog)>,
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
        self.deadline = None;
        let looks = self.time_limit.is_some() || self.limits.console.is_some();
        self.period = match self.tick {
            Some(tick) if looks => Some(tick.min(CLOCK_TICK)),
            None if looks => Some(CLOCK_TICK),
            tick => tick,
        };
    }

    /// Starts the clock, the first time, and has this thread interrupted at every tick from here
    /// on.
    pub(crate) fn watch(&mut self) -> Result<(), ConfigError> {
        let Some(period) = self.period else { return Ok(()) };
        let token = ThreadToken::current();
        if self.watchdog.as_ref().is_some_and(|(watched, _)| *watched == token) {
            return Ok(());
        }
        let now = Instant::now();
        let mut first = period;
        if let Some(limit) = self.time_limit {
            // A limit beyond the clock's own end is none.
            self.deadline = self.deadline.or_else(|| now.checked_add(limit));
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(now));
            first = left.unwrap_or(period).min(period);
        }
        self.next_tick = now.checked_add(first);
        self.watchdog = Some((token, Watchdog::start(first, period)?));
        Ok(())
    }

    /// Leaves this thread alone again.
    pub(crate) fn unwatch(&mut self) {
        self.watchdog = None;
    }

    /// Whether a tick is due by the clock.
    pub(crate) fn is_due(&mut self) -> bool {
        let (Some(next), Some(period)) = (self.next_tick, self.period) else { return false };
        let now = Instant::now();
        if now < next {
            return false;
        }
        self.next_tick = now.checked_add(period);
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
