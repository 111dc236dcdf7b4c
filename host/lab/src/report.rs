//! What a run of the laboratory found: all that tables, files and pages are made of.

use measures::machine::Machine as Load;
use measures::statistics::Summary;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the JSON form; another one is not read.
pub const FORMAT: u32 = 1;

/// A run of the laboratory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Portcall's.
    pub version: String,
    /// When it began: RFC 3339, in UTC.
    pub began: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether it was a short one.
    pub quick: bool,
    /// The processor that vCPUs were pinned to.
    pub pinned: Option<usize>,
    /// Whether it was stopped (Ctrl-C) before it had all of its rounds.
    pub interrupted: bool,
    /// The machine.
    pub machine: Machine,
    /// In the order of the table: built-in rows, then the caller's own.
    pub rows: Vec<Row>,
}

/// The machine that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// MiB of RAM.
    pub memory: u64,
    /// Linux's release.
    pub kernel: String,
    /// `kvm_intel`, `kvm_amd`, `kvm_pvm`, or what is known of another.
    pub kvm: String,
    /// The hypervisor that this machine itself runs under, if it is a virtual machine.
    pub hypervisor: Option<String>,
    /// The time stamp counter's frequency as KVM tells it to guests, in kHz.
    pub tsc_khz: Option<u32>,
    /// Of each vulnerability the kernel's own words (/sys/devices/system/cpu/vulnerabilities).
    pub mitigations: BTreeMap<String, String>,
    /// The frequency governor, where there is one.
    pub governor: Option<String>,
    /// Nanoseconds from one reading of the time stamp counter to the next, the median of those that
    /// differ: less cannot be told.
    #[serde(default)]
    pub clock_step: Option<f64>,
    /// How busy it was beside the laboratory.
    pub load: Load,
}

/// One way out of a guest, in one ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What it is chosen by. A guest of the caller's chooses its own, so it may be any text.
    pub name: String,
    /// What is done, in a sentence.
    pub what: String,
    /// 0 or 3.
    pub ring: u8,
    /// The file that it is from, or `None` for a built-in row.
    pub image: Option<String>,
    /// What was found.
    pub finding: Finding,
}

/// What there is to say of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It was measured.
    Measured(Measured),
    /// There is nothing to measure here, and this is why.
    Absent(Absent),
    /// The run was stopped, or its time was over, before its first round.
    NotReached,
}

/// Why a row has no figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Absent {
    /// In which way.
    pub kind: Absence,
    /// What was seen, in a sentence.
    pub why: String,
}

/// In which way a row has no figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// This KVM, kernel or machine has no such thing.
    Lacking,
    /// The guest never came back.
    Wedged,
    /// It came back with something wrong.
    Wrong,
    /// The ring, or the way it is measured, leaves it no meaning.
    Meaningless,
    /// The laboratory itself failed.
    Failed,
    /// The run's time was over before it, or before the rest of it.
    NotReached,
}

/// The samples of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Nanoseconds an operation, the timer's own cost subtracted, in the order they were taken. Each
    /// round is a VM of its own, in a process of its own unless the run was a quick one.
    pub rounds: Vec<Vec<f64>>,
    /// Operations that one sample is the mean of.
    pub operations: u32,
    /// Samples a round that were taken first and left out.
    pub warm_up: u32,
    /// Whether its rounds ran in the jail, as guests of `portcall run` do.
    #[serde(default)]
    pub jailed: bool,
    /// Who took the time.
    pub clock: Clock,
    /// Nanoseconds that the timer took itself: the median of `timers`.
    pub timer: f64,
    /// What it took beside each block of samples (the host's clock: in each round), in their order,
    /// and was subtracted from these before they were divided by their operations.
    #[serde(default)]
    pub timers: Vec<f64>,
    /// Guest instructions an operation, where KVM counts them (`insn_emulation`).
    pub instructions: Option<f64>,
    /// Where the time goes.
    pub shares: Option<Shares>,
    /// What a later round came to, after which there were no more.
    #[serde(default)]
    pub late: Option<Absent>,
}

/// Who took the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The guest, by RDTSC.
    Guest,
    /// The host, by CLOCK_MONOTONIC.
    Host,
}

/// Where half of all operations' time goes, in nanoseconds: `kernel` and `ours` are medians of rounds
/// of their own, in which times were taken at each exit, and `kvm` is what they leave of p50, so that
/// they add up to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Exits to this process an operation.
    pub exits: f64,
    /// The guest, KVM and the processor: the rest.
    pub kvm: f64,
    /// System calls by themselves: an ioctl that KVM refuses at once, where the rounds ran (in the
    /// jail each call is looked at first).
    pub kernel: f64,
    /// This process: between one KVM_RUN and the next.
    pub ours: f64,
}

impl Measured {
    /// All samples, round by round.
    #[must_use]
    pub fn samples(&self) -> Vec<f64> {
        self.rounds.concat()
    }

    /// Whether they come to figures: there are some, and all of them can be times.
    #[must_use]
    pub fn has_figures(&self) -> bool {
        let mut all = self.rounds.iter().flatten().peekable();
        all.peek().is_some() && all.all(|it| crate::units::is_sane(*it))
    }

    /// The samples in a few numbers. The interval is that of the rounds' medians, since what a VM
    /// has in common tells no more than one sample does.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        Summary::of_rounds(&self.rounds)
    }
}

impl Row {
    /// Its samples, if it has some.
    #[must_use]
    pub const fn measured(&self) -> Option<&Measured> {
        match &self.finding {
            Finding::Measured(measured) => Some(measured),
            Finding::Absent(_) | Finding::NotReached => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sample;

    #[test]
    fn what_has_no_samples_or_absurd_ones_has_no_figures() {
        let has =
            |rounds| sample::row("a", 0, rounds).measured().is_some_and(|it| it.has_figures());
        assert!(has(vec![vec![], vec![1.0]]));
        assert!(!has(vec![vec![], vec![]]) && !has(vec![]));
        assert!(!has(vec![vec![1.0, 1e300]]) && !has(vec![vec![f64::NAN]]));
    }
}
