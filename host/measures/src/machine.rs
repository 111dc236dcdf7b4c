//! How busy the machine was beside a measurement (proc(5): /proc/stat, /proc/loadavg).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;

/// Above which share of the machine that others took, or the hypervisor below, figures are said to
/// be of a busy machine.
const BUSY: f64 = 0.1;
const STOLEN: f64 = 0.02;

/// Clock ticks since the machine started.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    all: f64,
    busy: f64,
    stolen: f64,
    /// Of this process and its children that have ended.
    ours: f64,
}

impl Ticks {
    fn now() -> Option<Self> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let numbers: Vec<f64> = text
            .lines()
            .next()?
            .split_ascii_whitespace()
            .skip(1)
            .map(|word| word.parse().unwrap_or(0.0))
            .collect();
        // user nice system idle iowait irq softirq steal; guests are in user.
        let [user, nice, system, idle, wait, irq, soft, stolen, ..] = numbers[..] else {
            return None;
        };
        let busy = user + nice + system + irq + soft;
        Some(Self { all: busy + idle + wait + stolen, busy, stolen, ours: ours()? })
    }
}

/// utime, stime, cutime and cstime of /proc/self/stat, behind the name in parentheses.
fn ours() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, behind) = text.rsplit_once(')')?;
    let times = behind.split_ascii_whitespace().skip(11).take(4);
    times.map(|word| word.parse::<f64>().ok()).sum()
}

/// The load averages of 1, 5 and 15 minutes, as the kernel says them.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// A look at the machine when a measurement begins.
pub struct Watch {
    load: String,
    ticks: Option<Ticks>,
}

impl Watch {
    /// Looks now.
    #[must_use]
    pub fn begin() -> Self {
        Self { load: load(), ticks: Ticks::now() }
    }

    /// What the machine was like since.
    #[must_use]
    pub fn end(&self) -> Machine {
        let shares = self.ticks.zip(Ticks::now()).map(|(then, now)| {
            let all = (now.all - then.all).max(1.0);
            let others = (now.busy - then.busy - (now.ours - then.ours)) / all;
            (others.max(0.0), (now.stolen - then.stolen) / all)
        });
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            kernel: kernel.trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: self.load.clone(),
            load_after: load(),
            others: shares.map(|(others, _)| others),
            stolen: shares.map(|(_, stolen)| stolen),
        }
    }
}

/// The machine, and how busy it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Linux's release.
    pub kernel: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// The load averages of 1, 5 and 15 minutes when it began.
    pub load_before: String,
    /// The same when it ended.
    pub load_after: String,
    /// The share of all processors' time that other processes took.
    pub others: Option<f64>,
    /// The share that a hypervisor took.
    pub stolen: Option<f64>,
}

impl Machine {
    /// Whether figures taken meanwhile are of a busy machine.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.others.is_some_and(|it| it > BUSY) || self.stolen.is_some_and(|it| it > STOLEN)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, processors, load_before, load_after, others, stolen } = self;
        write!(f, "Linux {kernel}, {processors} processors, load {load_before} before")?;
        write!(f, " and {load_after} after")?;
        if let Some((others, stolen)) = others.zip(*stolen) {
            let (others, stolen) = (others * 100.0, stolen * 100.0);
            write!(f, "; others took {others:.0}% of the machine, {stolen:.0}% was stolen")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_is_understood() {
        let machine = Watch::begin().end();
        assert!(machine.others.is_some_and(|share| (0.0..=1.01).contains(&share)), "{machine}");
        assert!(machine.stolen.is_some(), "{machine}");
        assert_eq!(machine.load_before.split(' ').count(), 3, "{machine}");
    }

    #[test]
    fn a_machine_is_busy_by_others_or_by_its_hypervisor() {
        let quiet = Machine { others: Some(0.01), stolen: Some(0.0), ..Watch::begin().end() };
        assert!(!quiet.is_busy());
        assert!(Machine { others: Some(0.5), ..quiet.clone() }.is_busy());
        assert!(Machine { stolen: Some(0.1), ..quiet }.is_busy());
    }
}
