//! A row's figures, looked at before they are shown: a report may be read from any file.

use crate::report::{Absence, Absent, Clock, Finding, Measured, Report, Row, Shares};
use crate::text::{self, shown};
use crate::units::{self, is_sane, percent, times};
use measures::statistics::Summary;
use std::path::Path;

/// Above which ratio of p90 to p10 a row is called noisy.
const WIDE: f64 = 1.5;
/// Above which width of its interval, as a share of the median.
const UNSURE: f64 = 0.1;

/// From where on such a share says nothing, but the bounds do.
const MANY: f64 = 10.0;

/// How many of the clock's steps say something.
const STEPS: f64 = 4.0;

/// A row as it is shown.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// What it is made of.
    pub(crate) row: &'a Row,
    pub(crate) name: String,
    pub(crate) what: String,
    /// The file's name, for a row that is not built in.
    pub(crate) image: Option<String>,
    pub(crate) content: Result<Figures<'a>, Nothing>,
}

/// What was measured, all of it finite.
#[derive(Debug)]
pub(crate) struct Figures<'a> {
    pub(crate) measured: &'a Measured,
    pub(crate) summary: Summary,
    /// The median of each round that has samples.
    pub(crate) rounds: Vec<f64>,
    pub(crate) instructions: Option<f64>,
    pub(crate) shares: Option<Shares>,
    /// What a later round came to.
    pub(crate) late: Option<String>,
    /// Whether it is so short that the clock's steps are what is seen.
    pub(crate) is_at_step: bool,
    /// Why it is noisy; empty if it is not.
    pub(crate) noise: Vec<String>,
}

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nothing {
    /// In which way, short.
    pub(crate) word: &'static str,
    /// In a sentence.
    pub(crate) why: String,
}

/// All rows of a report.
pub(crate) fn lines(report: &Report) -> Vec<Line<'_>> {
    let step = report.machine.clock_step.filter(|it| *it > 0.0 && is_sane(*it)).unwrap_or(0.0);
    report.rows.iter().map(|row| Line::in_run(row, step, report.interrupted)).collect()
}

impl<'a> Line<'a> {
    #[cfg(test)]
    fn of(row: &'a Row, step: f64) -> Self {
        Self::in_run(row, step, false)
    }

    fn in_run(row: &'a Row, step: f64, interrupted: bool) -> Self {
        Self {
            row,
            name: shown(&row.name, text::NAME),
            what: shown(&row.what, text::SENTENCE),
            image: row.image.as_deref().map(|it| shown(file_name(it), text::NAME)),
            content: content(row, step, interrupted),
        }
    }

    /// The figures, if it has some.
    pub(crate) fn figures(&self) -> Option<&Figures<'a>> {
        self.content.as_ref().ok()
    }

    /// Name and ring.
    pub(crate) fn title(&self) -> String {
        format!("{} in ring {}", self.name, self.row.ring)
    }

    pub(crate) fn is_noisy(&self) -> bool {
        self.figures().is_some_and(|it| !it.noise.is_empty())
    }
}

/// The last part of a path, which need not be one of this machine.
pub(crate) fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|it| it.to_str()).unwrap_or(path)
}

/// The word for a way of having no figures.
pub(crate) const fn word(kind: Absence) -> &'static str {
    match kind {
        Absence::Lacking => "lacking",
        Absence::Wedged => "wedged",
        Absence::Wrong => "wrong",
        Absence::Meaningless => "meaningless",
        Absence::Failed => "failed",
        Absence::NotReached => "not reached",
    }
}

fn content(row: &Row, step: f64, interrupted: bool) -> Result<Figures<'_>, Nothing> {
    let nothing = |word, why: &str| Err(Nothing { word, why: why.to_owned() });
    match &row.finding {
        Finding::Measured(measured) => match Figures::of(measured, step) {
            Some(Ok(figures)) => Ok(figures),
            Some(Err(why)) => nothing("damaged", why),
            None => nothing("empty", "it is said to be measured, but has no samples"),
        },
        Finding::Absent(Absent { kind, why }) => nothing(word(*kind), &shown(why, text::SENTENCE)),
        Finding::NotReached if interrupted => {
            nothing("not reached", "the run was stopped before this row's first round")
        }
        Finding::NotReached => {
            nothing("not reached", "the run's time was over before this row's first round")
        }
    }
}

impl<'a> Figures<'a> {
    /// `None` without samples.
    fn of(measured: &'a Measured, step: f64) -> Option<Result<Self, &'static str>> {
        if !measured.rounds.iter().flatten().all(|it| is_sane(*it)) {
            return Some(Err("a sample is no number, or longer than any run"));
        }
        let summary = measured.summary()?;
        let rounds = measured.rounds.iter().filter_map(|it| Some(Summary::of(it)?.median));
        let rounds: Vec<f64> = rounds.collect();
        let is_at_step = measured.clock == Clock::Guest
            && summary.median.abs() * f64::from(measured.operations) < STEPS * step;
        let noise = if is_at_step { Vec::new() } else { noise(&summary, &rounds) };
        let counted = |it: &f64| *it >= 0.0 && is_sane(*it);
        Some(Ok(Self {
            measured,
            rounds,
            instructions: measured.instructions.filter(counted),
            shares: measured.shares.filter(|it| {
                [it.exits, it.kvm, it.kernel, it.ours].iter().all(counted) && total(it) > 0.0
            }),
            late: measured
                .late
                .as_ref()
                .map(|it| format!("{}: {}", word(it.kind), shown(&it.why, text::SENTENCE))),
            summary,
            is_at_step,
            noise,
        }))
    }

    /// How far the samples lie apart: p90 over p10.
    pub(crate) fn spread(&self) -> Option<f64> {
        spread(&self.summary)
    }

    /// Samples a round, of the round that has the most.
    pub(crate) fn samples_a_round(&self) -> usize {
        self.measured.rounds.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// All of an operation's time, as its shares have it.
pub(crate) fn total(shares: &Shares) -> f64 {
    shares.kvm + shares.kernel + shares.ours
}

fn spread(summary: &Summary) -> Option<f64> {
    (summary.p10 > 0.0).then(|| summary.p90 / summary.p10).filter(|it| it.is_finite())
}

/// Where the rounds' medians are two groups, each narrower than what lies between them: as a machine
/// has it that runs at two speeds, by turns. One round that is apart is no speed of a machine's.
fn speeds(rounds: &[f64]) -> Option<String> {
    let mut rounds = rounds.to_vec();
    rounds.sort_by(f64::total_cmp);
    let gap = |at: &usize| rounds[*at] - rounds[*at - 1];
    let at = (1..rounds.len()).max_by(|one, other| gap(one).total_cmp(&gap(other)))?;
    let (fast, slow) = rounds.split_at(at);
    let width = |it: &[f64]| it[it.len() - 1] - it[0];
    if width(fast).max(width(slow)) >= gap(&at) {
        return None;
    }
    let median = |it: &[f64]| f64::midpoint(it[(it.len() - 1) / 2], it[it.len() / 2]);
    let (one, other) = (median(fast), median(slow));
    let all = rounds.len();
    match (fast.len(), slow.len()) {
        // Beside what is hardly a time, shares of it say nothing.
        (1, _) | (_, 1) if one <= 0.0 || other / one > MANY => None,
        (_, 1) => Some(format!("1 round of {all} is {} slower", percent(other / one - 1.0))),
        (1, _) => Some(format!("1 round of {all} is {} faster", percent(1.0 - one / other))),
        (count, rest) => {
            let (count, [one, other]) =
                (text::count(count, "round"), [one, other].map(|it| units::time(it, None)));
            Some(format!("two speeds: {one} in {count}, {other} in {rest}"))
        }
    }
}

fn noise(summary: &Summary, rounds: &[f64]) -> Vec<String> {
    let mut said = Vec::new();
    match spread(summary) {
        Some(spread) if spread > WIDE => said.push(format!("p90 is {} p10", times(spread))),
        Some(_) => {}
        None => said.push("no more than the timer's own cost".to_owned()),
    }
    if let Some((low, high)) = summary.interval {
        let width = (high - low) / summary.median.abs().max(f64::MIN_POSITIVE);
        if width > UNSURE {
            let differ = || match width {
                it if it > MANY => format!(
                    "rounds go from {} to {}",
                    units::time(low, None),
                    units::time(high, None)
                ),
                it => format!("rounds differ by {}", percent(it)),
            };
            said.push(speeds(rounds).unwrap_or_else(differ));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn row(rounds: Vec<Vec<f64>>) -> Row {
        sample::row("it", 0, rounds)
    }

    #[test]
    fn samples_that_cannot_be_are_no_figures() {
        for bad in [f64::NAN, f64::INFINITY, -f64::INFINITY, 1e300] {
            let row = row(vec![vec![1.0, bad]]);
            let nothing = Line::of(&row, 0.0).content.expect_err("no figures");
            assert_eq!(nothing.word, "damaged");
        }
        assert_eq!(Line::of(&row(vec![vec![]]), 0.0).content.expect_err("none").word, "empty");
    }

    #[test]
    fn shares_that_cannot_be_are_left_out() {
        let mut row = row(vec![vec![1.0; 10]; 8]);
        let Finding::Measured(measured) = &mut row.finding else { panic!("measured") };
        measured.shares = Some(Shares { exits: 1.0, kvm: -5.0, kernel: 1.0, ours: 1.0 });
        measured.instructions = Some(f64::NAN);
        let line = Line::of(&row, 0.0);
        let figures = line.figures().expect("figures");
        assert_eq!((figures.shares, figures.instructions), (None, None));
    }

    #[test]
    fn a_row_is_noisy_by_its_samples_or_by_its_rounds() {
        let noisy = |rounds| Line::of(&row(rounds), 0.0).is_noisy();
        let steady = vec![100.0, 101.0, 102.0];
        assert!(!noisy(vec![steady.clone(); 8]));
        assert!(noisy(vec![vec![100.0, 120.0, 200.0]; 8]));
        let mut drift = vec![steady; 8];
        drift[3] = vec![130.0; 3];
        assert!(noisy(drift));
        assert!(noisy(vec![vec![-1.0, 0.0, 1.0]; 8]));
    }

    #[test]
    fn two_speeds_are_said_and_other_differences_are_not_called_that() {
        let noise = |rounds: &[f64]| {
            let row = row(rounds.iter().map(|it| vec![*it; 5]).collect());
            let line = Line::of(&row, 0.0);
            line.figures().expect("figures").noise.last().cloned().unwrap_or_default()
        };
        let one = [9.1, 13.3, 9.2, 9.3, 9.2, 9.2, 9.1, 9.4].map(|it| it * 1e3);
        assert_eq!(noise(&one), "1 round of 8 is 45% slower");
        let one = [9.1, 9.2, 6.9, 9.3, 9.2, 9.2, 9.1, 9.4].map(|it| it * 1e3);
        assert_eq!(noise(&one), "1 round of 8 is 25% faster");
        let two = [9.1, 13.3, 9.2, 9.3, 13.3, 9.2, 9.1, 9.4].map(|it| it * 1e3);
        assert_eq!(noise(&two), "two speeds: 9.20 us in 6 rounds, 13.3 us in 2");
        // A share of what is no time says nothing.
        let none = [-1.0, -1.0, -1.0, 50.0, -1.0, -1.0];
        assert_eq!(noise(&none), "rounds go from -1.00 ns to 50.0 ns");
        let half = [9.0, 13.0, 9.2, 13.4, 9.4, 13.2].map(|it| it * 1e3);
        assert_eq!(noise(&half), "two speeds: 9.20 us in 3 rounds, 13.2 us in 3");
        // One after the other, or all over the place.
        assert_eq!(noise(&[9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0]), "rounds differ by 56%");
        assert_eq!(noise(&[9.0, 9.1, 12.0, 9.2, 9.1, 15.0, 18.5, 9.0]), "rounds differ by 104%");
        assert_eq!(
            noise(&[9.0, 900.0, 500.0, 9.0, 9.0, 300.0, 9.1, 9.0]),
            "rounds go from 9.00 ns to 900 ns"
        );
        // Two groups that lie so near to each other are no noise.
        assert_eq!(noise(&[9.0, 9.3, 9.0, 9.3, 9.0, 9.3]), "");
    }

    #[test]
    fn a_row_that_was_not_reached_says_why() {
        let mut report = sample::report(1);
        report.rows = vec![Row { finding: Finding::NotReached, ..row(vec![]) }];
        for (interrupted, why) in [(true, "was stopped"), (false, "time was over")] {
            report.interrupted = interrupted;
            let nothing = lines(&report).remove(0).content.expect_err("no figures");
            assert!(nothing.word == "not reached" && nothing.why.contains(why), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_as_short_as_the_clocks_steps_is_not_noise() {
        let row = row(vec![vec![0.0, 10.0, 20.0]; 8]);
        let line = Line::of(&row, 10.0);
        assert!(!line.is_noisy() && line.figures().expect("figures").is_at_step);
    }
}
