//! What becomes of a VM.

use crate::random::Random;
use portcall::Limit;
use std::time::Duration;

/// How long any guest may run: those that never end are many.
const TIME: Duration = Duration::from_millis(60);

/// What becomes of a VM.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It runs to its end, or to a limit.
    Runs(Limit),
    /// Another thread stops it after this time.
    Stopped(Duration),
    /// It is dropped after so many steps, or an end.
    Dropped(u64),
}

impl Fate {
    /// To run for as long as any guest may.
    pub(crate) const LONG: Self = Self::Runs(Limit::Time(TIME));

    pub(crate) fn draw(random: &mut Random) -> Self {
        let micros = Duration::from_micros(random.within(0..8000));
        match random.within(0..8) {
            0..4 => Self::LONG,
            4 => Self::Runs(match random.within(0..4) {
                0 => Limit::Time(micros),
                1 => Limit::Exits(random.within(0..20)),
                2 => Limit::Console(random.within(0..200)),
                _ => Limit::Calls(random.within(0..4)),
            }),
            5 | 6 => Self::Stopped(micros),
            _ => Self::Dropped(random.within(0..10)),
        }
    }

    /// The limits that it runs under. There is always one of time.
    pub(crate) fn limits(self) -> [Limit; 2] {
        let time = Limit::Time(TIME);
        if let Self::Runs(limit) = self { [time, limit] } else { [time; 2] }
    }
}
