//! How busy the machine was beside a measurement (proc(5): /proc/stat, /proc/loadavg).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

/// Above which share of the machine that others took, or the hypervisor below, figures are said to
/// be of a busy machine.
const BUSY: f64 = 0.1;
const STOLEN: f64 = 0.02;

/// The shortest stretch of a measurement that is looked at by itself: a tick of 10 ms is a small part of
/// it.
const STRETCH: Duration = Duration::from_secs(1);
/// How many times that share makes a stretch of it a busy one: what is short has some of the system's own
/// work in it.
const MORE: f64 = 2.0;

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

/// What others and the hypervisor took between two looks, as shares of all processors.
fn shares(then: &Ticks, now: &Ticks) -> (f64, f64) {
    let all = (now.all - then.all).max(1.0);
    let others = (now.busy - then.busy - (now.ours - then.ours)) / all;
    (others.max(0.0), (now.stolen - then.stolen).max(0.0) / all)
}

/// A look at the machine when a measurement begins, and those in between.
pub struct Watch {
    load: String,
    ticks: Option<Ticks>,
    start: Instant,
    /// The last look, of those that end a stretch.
    last: (Instant, Option<Ticks>),
    worst: Option<Stretch>,
}

/// A part of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Seconds from the measurement's beginning to its own.
    pub from: f64,
    /// Seconds to its end.
    pub to: f64,
    /// The share of all processors' time that other processes took.
    pub others: f64,
    /// The share that a hypervisor took.
    pub stolen: f64,
}

impl Stretch {
    /// How far it is beyond what makes a machine busy.
    fn excess(&self) -> f64 {
        (self.others / BUSY).max(self.stolen / STOLEN)
    }

    /// Whether figures taken in it are of a busy machine.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.excess() > MORE
    }
}

impl Watch {
    /// Looks now.
    #[must_use]
    pub fn begin() -> Self {
        let (start, ticks) = (Instant::now(), Ticks::now());
        Self { load: load(), ticks, start, last: (start, ticks), worst: None }
    }

    /// Looks again, between two pieces of work: what processes of this one took is known when they have
    /// ended. Does nothing where the last look was less than a second ago.
    pub fn look(&mut self) {
        let (then, before) = self.last;
        if then.elapsed() >= STRETCH {
            self.last = (Instant::now(), Ticks::now());
            let Some((before, now)) = before.zip(self.last.1) else { return };
            let (others, stolen) = shares(&before, &now);
            let since = |at: Instant| at.duration_since(self.start).as_secs_f64();
            self.keep(Stretch { from: since(then), to: since(self.last.0), others, stolen });
        }
    }

    fn keep(&mut self, stretch: Stretch) {
        let worse = |it: &Stretch| stretch.excess() > it.excess();
        if self.worst.as_ref().is_none_or(worse) {
            self.worst = Some(stretch);
        }
    }

    /// What the machine was like since.
    #[must_use]
    pub fn end(&self) -> Machine {
        let shares = self.ticks.zip(Ticks::now()).map(|(then, now)| shares(&then, &now));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            kernel: kernel.trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: self.load.clone(),
            load_after: load(),
            others: shares.map(|(others, _)| others),
            stolen: shares.map(|(_, stolen)| stolen),
            worst: self.worst,
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
    /// The busiest part of it, where it was looked at meanwhile.
    #[serde(default)]
    pub worst: Option<Stretch>,
}

impl Machine {
    /// Whether figures taken meanwhile are of a busy machine.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.others.is_some_and(|it| it > BUSY) || self.stolen.is_some_and(|it| it > STOLEN)
    }

    /// The busiest part, if the machine was a busy one then.
    #[must_use]
    pub fn busy_stretch(&self) -> Option<&Stretch> {
        self.worst.as_ref().filter(|it| it.is_busy())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, processors, load_before, load_after, others, stolen, worst: _ } = self;
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

    #[test]
    fn the_worst_stretch_is_kept_whatever_the_whole_is() {
        let mut watch = Watch::begin();
        assert_eq!(watch.end().worst, None);
        let quiet = Stretch { from: 0.0, to: 1.0, others: 0.15, stolen: 0.0 };
        let busy = Stretch { from: 1.0, to: 2.0, others: 0.5, stolen: 0.0 };
        let stolen = Stretch { others: 0.0, stolen: 0.05, ..quiet };
        watch.keep(quiet);
        assert_eq!(watch.end().busy_stretch(), None);
        for stretch in [stolen, busy, quiet] {
            watch.keep(stretch);
        }
        assert_eq!(watch.end().busy_stretch(), Some(&busy));
    }

    #[test]
    fn shares_are_of_all_processors_and_without_our_own() {
        let then = Ticks { all: 1000.0, busy: 500.0, stolen: 10.0, ours: 100.0 };
        let now = Ticks { all: 1400.0, busy: 800.0, stolen: 30.0, ours: 200.0 };
        assert_eq!(shares(&then, &now), (0.5, 0.05));
    }

    /// Another process is a burner of this test's, which has not ended.
    #[test]
    fn a_burner_beside_it_is_seen() {
        let mut burner = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .expect("sh starts");
        let mut watch = Watch::begin();
        watch.look();
        assert_eq!(watch.end().worst, None, "less than a second ago");
        let start = Instant::now();
        while watch.worst.is_none() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(200));
            watch.look();
        }
        burner.kill().and_then(|()| burner.wait()).expect("it ends");
        let worst = watch.end().worst.expect("a stretch");
        assert!(worst.others > 0.0 && worst.to - worst.from >= 1.0, "{worst:?}");
    }
}
