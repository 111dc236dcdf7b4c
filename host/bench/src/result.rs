//! What was measured, as it is kept.

use crate::row::{Budget, Figure, Row, Unit};
use crate::sides::Sample;
use measures::machine::Machine;
use measures::statistics::Summary;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The form of the file; another one is not compared with.
pub(crate) const FORMAT: u32 = 2;

/// A run of the bench.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    /// portcall's.
    pub(crate) version: String,
    pub(crate) quick: bool,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Measured>,
}

/// A row that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) kind: Figure,
    pub(crate) budget: Option<Budget>,
    pub(crate) figure: Summary,
    pub(crate) ours: Summary,
    pub(crate) floor: Option<Summary>,
    /// Guest instructions that KVM emulated for each call or byte: their median, where they are
    /// counted.
    pub(crate) our_instructions: Option<f64>,
    pub(crate) floor_instructions: Option<f64>,
    /// The figure of each pair, in the order in which they came.
    pub(crate) samples: Vec<f64>,
}

/// All rounds of a row, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    pub(crate) figures: Vec<f64>,
    ours: Vec<Sample>,
    floor: Vec<Sample>,
}

impl Values {
    /// A pair; or a round, where there is no floor.
    pub(crate) fn push(&mut self, kind: Figure, ours: Sample, floor: Option<Sample>) {
        self.figures.extend(kind.of(ours.value, floor.map(|it| it.value)));
        self.ours.push(ours);
        self.floor.extend(floor);
    }
}

/// What a side's values come to.
fn summary(side: &[Sample]) -> Option<Summary> {
    Summary::of(&side.iter().map(|it| it.value).collect::<Vec<_>>())
}

/// None counted is as good as not counted: on a processor that runs ring 0 by itself the counter is
/// there, and stays 0.
fn emulated(side: &[Sample]) -> Option<f64> {
    let counts: Vec<f64> = side.iter().filter_map(|it| it.instructions).collect();
    Summary::of(&counts).map(|all| all.median).filter(|median| *median > 0.0)
}

impl Measured {
    /// Of rounds in batches of that size. `None` if no round came to its end.
    pub(crate) fn of(row: &Row, batch: usize, values: Values) -> Option<Self> {
        Some(Self {
            name: row.name.to_owned(),
            what: row.what.to_owned(),
            unit: row.unit,
            kind: row.figure,
            budget: row.budget,
            figure: Summary::of_batches(&values.figures, batch)?,
            ours: summary(&values.ours)?,
            floor: summary(&values.floor),
            our_instructions: emulated(&values.ours),
            floor_instructions: emulated(&values.floor),
            samples: values.figures,
        })
    }

    /// Whether the median keeps to the budget; `None` without one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.budget.map(|budget| budget.is_met(self.figure.median))
    }

    /// Whether all of the median's interval says the same about the budget.
    pub(crate) fn is_sure(&self) -> bool {
        let met = |it: f64| self.budget.map(|budget| budget.is_met(it));
        self.figure.interval.is_some_and(|(low, high)| met(low) == met(high))
    }
}

impl Report {
    pub(crate) fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|error| error.to_string())
    }

    /// Writes it to a file, with the directory that it is in.
    pub(crate) fn save(&self, path: &Path) -> Result<(), String> {
        let failed = |error| format!("cannot write {}: {error}", path.display());
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        std::fs::write(path, self.to_json()? + "\n").map_err(failed)
    }

    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("cannot read {}: {error}; --save NAME makes one", path.display())
        })?;
        let wrong = |why: String| {
            format!("{} is no run of this bench: {why}; save one anew", path.display())
        };
        let report: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if report.format != FORMAT {
            return Err(wrong(format!("its format is {}, this one {FORMAT}", report.format)));
        }
        Ok(report)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use measures::machine::Watch;

    /// A row with these figures, measured.
    pub(crate) fn measured(name: &str, samples: &[f64]) -> Measured {
        let summary = Summary::of(samples).expect("samples");
        Measured {
            name: name.to_owned(),
            what: "does what it does".to_owned(),
            unit: Unit::Microseconds,
            kind: Figure::Ratio,
            budget: Some(Budget::AtMost(1.02)),
            figure: summary.clone(),
            ours: summary.clone(),
            floor: Some(summary),
            our_instructions: Some(5.0),
            floor_instructions: None,
            samples: samples.to_vec(),
        }
    }

    pub(crate) fn report(rows: Vec<Measured>) -> Report {
        let machine = Watch::begin().end();
        Report { format: FORMAT, version: "0.1.0".to_owned(), quick: true, machine, rows }
    }

    #[test]
    fn a_saved_run_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("below/it.json");
        let few = measured("few", &[1.0, 1.1]);
        let report = report(vec![measured("many", &[0.1; 20]), few]);
        report.save(&path).expect("written");
        assert_eq!(Report::load(&path), Ok(report.clone()));

        let other = Report { format: FORMAT + 1, ..report };
        other.save(&path).expect("written");
        let error = Report::load(&path).expect_err("another format");
        assert!(error.contains(&format!("its format is {}", FORMAT + 1)), "{error}");
    }

    #[test]
    fn a_budget_is_sure_if_the_whole_interval_says_the_same() {
        let sure = measured("a", &[1.0; 10]);
        assert_eq!((sure.is_met(), sure.is_sure()), (Some(true), true));
        let mixed = measured("b", &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.1, 1.1, 1.1, 1.1]);
        assert_eq!((mixed.is_met(), mixed.is_sure()), (Some(true), false));
        let few = measured("c", &[1.1]);
        assert_eq!((few.is_met(), few.is_sure()), (Some(false), false));
    }

    #[test]
    fn instructions_that_are_none_are_not_counted() {
        let sample = |instructions| Sample { value: 1.0, instructions };
        assert_eq!(emulated(&[sample(Some(0.0)), sample(None)]), None);
        assert_eq!(emulated(&[sample(Some(0.0)), sample(Some(8.0))]), Some(4.0));
    }
}
