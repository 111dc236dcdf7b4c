//! What may end a run from outside the guest: stoppers and limits, and the ticks at which they
//! are looked at.

use crate::error::ConfigError;
use crate::outcome::{End, Limit};
use crate::stop::{StopState, ThreadToken, Watchdog};
use std::time::{Duration, Instant};

/// How often a VM with a time limit looks at the clock.
const CLOCK_TICK: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) stop: StopState,
    /// The VM's own, and that of this run or call.
    own_limit: Option<Duration>,
    time_limit: Option<Duration>,
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
    pub(crate) fn new(time_limit: Option<Duration>, tick: Option<Duration>) -> Self {
        let mut bounds = Self { own_limit: time_limit, tick, ..Self::default() };
        bounds.start_afresh(None);
        bounds
    }

    /// The clock begins again at the next KVM_RUN: for a call, with a limit of its own if it has
    /// one.
    pub(crate) fn start_afresh(&mut self, limit: Option<Duration>) {
        self.time_limit = limit.or(self.own_limit);
        self.deadline = None;
        self.period = match (self.time_limit, self.tick) {
            (Some(_), Some(tick)) => Some(tick.min(CLOCK_TICK)),
            (Some(_), None) => Some(CLOCK_TICK),
            (None, tick) => tick,
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

    /// The end that a stopper or a limit asks for, if one does.
    pub(crate) fn reached(&self) -> Option<End> {
        if self.stop.requested() {
            return Some(End::Stopped);
        }
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.time_limit.filter(|_| late).map(|limit| End::LimitReached(Limit::Time(limit)))
    }
}
