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
const WARM_UP: usize = 2;
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
        let all = rows.iter().map(|row| row.cost * pairs(row, quick) as u64).sum();
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
        let mut all = Values::default();
        let batch = Side::batch(&row.ours);
        if batch == 1 && row.cost <= LONG {
            self.batch(row, WARM_UP, 0, &mut Values::default())?;
        }
        while all.figures.len() < pairs && !self.is_stopped() {
            self.progress.set_message(format!("{} {}/{pairs}", row.name, all.figures.len()));
            let warm_up = if batch == 1 { 0 } else { WARM_UP };
            self.batch(row, batch.min(pairs - all.figures.len()), warm_up, &mut all)?;
        }
        Ok(Measured::of(row, batch, all))
    }

    /// Some rounds of sides that are started for them.
    fn batch(
        &self,
        row: &Row,
        rounds: usize,
        warm_up: usize,
        all: &mut Values,
    ) -> Result<(), String> {
        let mut ours = Side::start(&row.ours)?;
        let mut floor = row.floor.as_ref().map(Side::start).transpose()?;
        for round in 0..warm_up + rounds {
            if self.is_stopped() {
                break;
            }
            // Each is first in every other round.
            let (a, b) = if all.figures.len().is_multiple_of(2) {
                let a = ours.round()?;
                (a, one(floor.as_mut())?)
            } else {
                let b = one(floor.as_mut())?;
                (ours.round()?, b)
            };
            if round >= warm_up {
                all.push(row.figure, a, b);
                self.progress.inc(row.cost);
            }
        }
        ours.end()?;
        floor.map_or(Ok(()), Side::end)
    }

    /// No more rows.
    pub(crate) fn finish(&self) {
        self.progress.finish_and_clear();
    }
}

const fn pairs(row: &Row, quick: bool) -> usize {
    if quick { row.pairs.quick } else { row.pairs.full }
}

fn one(side: Option<&mut Side>) -> Result<Option<Sample>, String> {
    side.map(Side::round).transpose()
}
