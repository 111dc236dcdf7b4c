//! A row, measured: both sides in turn, so that whatever the machine does besides meets both.

use crate::process::Side;
use crate::result::{Measured, Values};
use crate::row::Row;
use crate::sides::Sample;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rounds of each side before the first that counts; of the rows that take seconds a round, none.
pub(crate) const WARM_UP: u32 = 2;
const LONG: u64 = 1000;

/// What all rows share.
pub(crate) struct Bench {
    pub(crate) quick: bool,
    /// Set by Ctrl-C: what was measured so far is kept.
    pub(crate) stop: Arc<AtomicBool>,
    progress: ProgressBar,
}

impl Bench {
    /// For rows that are to be measured one after the other.
    pub(crate) fn new(rows: &[Row], quick: bool, stop: Arc<AtomicBool>) -> Self {
        let all = rows.iter().map(|row| row.cost * u64::from(pairs(row, quick))).sum();
        let progress = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
        let style = "{bar:24} {msg}, {eta} left";
        progress.set_style(ProgressStyle::with_template(style).unwrap_or_else(|error| {
            unreachable!("the template is a constant: {error}");
        }));
        Self { quick, stop, progress }
    }

    /// Does what prints, with the progress out of its way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.progress.suspend(print)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// All rounds of a row; fewer if it is stopped, and `None` if it is before the first.
    pub(crate) fn measure(&self, row: &Row) -> Result<Option<Measured>, String> {
        let pairs = pairs(row, self.quick);
        if !std::io::stderr().is_terminal() {
            crate::err!("{}: {pairs} rounds", row.name);
        }
        let mut ours = Side::start(&row.ours)?;
        let mut floor = row.floor.as_ref().map(Side::start).transpose()?;
        let warm_up = if row.cost > LONG { 0 } else { WARM_UP };
        let (mut our_values, mut floor_values) = (Values::default(), Values::default());
        let mut figures = Vec::new();
        for round in 0..warm_up + pairs {
            if self.is_stopped() {
                break;
            }
            self.progress.set_message(format!("{} {}/{pairs}", row.name, figures.len()));
            // Each is first in every other round.
            let (a, b) = if round % 2 == 0 {
                let a = ours.round()?;
                (a, one(floor.as_mut())?)
            } else {
                let b = one(floor.as_mut())?;
                (ours.round()?, b)
            };
            if round < warm_up {
                continue;
            }
            self.progress.inc(row.cost);
            our_values.push(a);
            if let Some(b) = b {
                floor_values.push(b);
            }
            figures.extend(row.figure.of(a.value, b.map(|b| b.value)));
        }
        ours.end()?;
        if let Some(floor) = floor {
            floor.end()?;
        }
        Ok(Measured::of(row, figures, &our_values, &floor_values))
    }

    /// No more rows.
    pub(crate) fn finish(&self) {
        self.progress.finish_and_clear();
    }
}

const fn pairs(row: &Row, quick: bool) -> u32 {
    if quick { row.pairs.quick } else { row.pairs.full }
}

fn one(side: Option<&mut Side>) -> Result<Option<Sample>, String> {
    side.map(Side::round).transpose()
}
