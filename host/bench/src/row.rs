//! A row: two sides, what of them is compared, and what it may come to.

use crate::process::Work;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is measured, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What it is chosen by.
    pub(crate) name: &'static str,
    /// What a round of each side does.
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) figure: Figure,
    pub(crate) budget: Option<Budget>,
    pub(crate) ours: Work,
    /// What ours stands beside.
    pub(crate) floor: Option<Work>,
    pub(crate) pairs: Pairs,
    /// About how long a pair takes, in milliseconds, for the time that is left.
    pub(crate) cost: u64,
}

/// Rounds of both sides: with `--quick`, and else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs {
    pub(crate) quick: usize,
    pub(crate) full: usize,
}

/// What a side's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    Kibibytes,
    MebibytesPerSecond,
    Exits,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Kibibytes => "KiB",
            Self::MebibytesPerSecond => "MiB/s",
            Self::Exits => "exits",
        })
    }
}

/// What a pair comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Figure {
    /// Ours over the floor's.
    Ratio,
    /// Ours without the floor's.
    Difference,
    /// Ours; the floor's stands beside it.
    Ours,
}

impl Figure {
    /// Of one pair. A figure that takes a floor is `None` without one.
    pub(crate) fn of(self, ours: f64, floor: Option<f64>) -> Option<f64> {
        match self {
            Self::Ratio => floor.map(|floor| ours / floor),
            Self::Difference => floor.map(|floor| ours - floor),
            Self::Ours => Some(ours),
        }
    }
}

/// What a figure may come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

impl Budget {
    pub(crate) fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_include_their_bound() {
        assert!(Budget::AtMost(1.02).is_met(1.02) && !Budget::AtMost(1.02).is_met(1.03));
        assert!(Budget::AtLeast(100.0).is_met(100.0) && !Budget::AtLeast(100.0).is_met(99.0));
    }

    #[test]
    fn a_figure_takes_the_floor_that_it_compares_with() {
        assert_eq!(Figure::Ratio.of(3.0, Some(2.0)), Some(1.5));
        assert_eq!(Figure::Difference.of(3.0, Some(2.0)), Some(1.0));
        assert_eq!(Figure::Ours.of(3.0, Some(2.0)), Some(3.0));
        assert_eq!(Figure::Ratio.of(3.0, None), None);
    }
}
