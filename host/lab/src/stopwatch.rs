//! The host's clock, for what begins or ends on the host.

use crate::report::Absent;
use measures::collect::{Collector, Totals, Watched};
use measures::statistics::Summary;
use portcall::Vm;
use portcall::sys::KvmStats;
use std::time::{Duration, Instant};

/// Readings by which the clock's own cost is found.
const READINGS: usize = 64;

/// Measures what begins or ends on the host.
#[derive(Debug)]
pub struct Stopwatch {
    samples: u32,
    counters: Option<KvmStats>,
    collector: Collector,
}

/// What it has measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// Nanoseconds each, the clock's cost subtracted.
    pub samples: Vec<f64>,
    /// Samples that were taken first and left out.
    pub warm_up: u32,
    /// Nanoseconds that the clock takes by itself.
    pub timer: f64,
    /// Guest instructions an operation, where KVM counts them.
    pub instructions: Option<f64>,
    /// What it took of this process, if an observer saw it.
    pub watched: Option<Watched>,
}

impl Stopwatch {
    /// For so many samples of this VM. Opens KVM's counters, which nobody can in the jail.
    #[must_use]
    pub fn new(vm: &Vm, samples: u32, collector: Collector) -> Self {
        Self { samples, counters: KvmStats::open(vm.vcpu_fd()).ok(), collector }
    }

    /// How many samples are wanted.
    #[must_use]
    pub const fn samples(&self) -> u32 {
        self.samples
    }

    /// Times `operation`, from its call to its return. It is of at least `fewest` instructions of the
    /// guest's: a KVM that counts fewer does not count all.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn time(
        &self,
        vm: &mut Vm,
        fewest: f64,
        mut operation: impl FnMut(&mut Vm) -> Result<(), Absent>,
    ) -> Result<Timed, Absent> {
        let mut all = Vec::new();
        let (mut place, mut first) = (0, None);
        let mut timed = self.collect(vm, |vm| {
            if place == self.warm_up() {
                first = self.instructions();
            }
            place += 1;
            let before = self.collector.seen();
            let start = Instant::now();
            operation(vm)?;
            let time = start.elapsed();
            all.extend(self.collector.seen().map(|now| (time, now - before.unwrap_or_default())));
            Ok(time)
        })?;
        let count = self.instructions().zip(first).map(|(now, then)| now.saturating_sub(then));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = count.map(|count| count as f64 / f64::from(self.samples.max(1)));
        timed.instructions = count.filter(|it| *it >= fewest);
        timed.watched = all.get(timed.warm_up as usize..).and_then(watched);
        Ok(timed)
    }

    /// The same where the operation itself says how long it took. What the guest does meanwhile is
    /// not the operation, so that its instructions are not counted.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn collect(
        &self,
        vm: &mut Vm,
        mut operation: impl FnMut(&mut Vm) -> Result<Duration, Absent>,
    ) -> Result<Timed, Absent> {
        let warm_up = self.warm_up();
        for _ in 0..warm_up {
            operation(vm)?;
        }
        let timer = own_cost();
        let mut samples = Vec::new();
        for _ in 0..self.samples {
            samples.push(nanoseconds(operation(vm)?) - timer);
        }
        Ok(Timed { samples, warm_up, timer, instructions: None, watched: None })
    }

    fn warm_up(&self) -> u32 {
        (self.samples / 8).clamp(1, 64)
    }

    fn instructions(&self) -> Option<u64> {
        self.counters.as_ref()?.get("insn_emulation")
    }
}

/// Operations, each with the time that it took and what an observer saw of it: what is not KVM_RUN's
/// is ours. The median, so that one at which this process had to wait counts as one.
fn watched(operations: &[(Duration, Totals)]) -> Option<Watched> {
    let ours = operations.iter().map(|(time, seen)| nanoseconds(time.saturating_sub(seen.run)));
    let ours = Summary::of(&ours.collect::<Vec<_>>())?.median;
    let exits: u64 = operations.iter().map(|(_, seen)| seen.exits).sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let exits = exits as f64 / operations.len() as f64;
    Some(Watched { exits, ours })
}

/// What two readings of the clock are apart, the median.
fn own_cost() -> f64 {
    let mut readings: Vec<f64> = (0..READINGS)
        .map(|_| {
            let start = Instant::now();
            nanoseconds(start.elapsed())
        })
        .collect();
    readings.sort_by(f64::total_cmp);
    readings[READINGS / 2]
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

#[cfg(test)]
mod tests {
    use super::{Totals, watched};
    use std::time::Duration;

    #[test]
    fn one_operation_that_had_to_wait_changes_nothing() {
        let us = Duration::from_micros;
        let mut all = vec![(us(10), Totals { exits: 1, run: us(8) }); 9];
        all.push((us(9000), Totals { exits: 1, run: us(8) }));
        let it = watched(&all).expect("operations");
        assert!((it.ours - 2000.0).abs() < 1e-6 && (it.exits - 1.0).abs() < 1e-9, "{it:?}");
        assert_eq!(watched(&[]), None);
    }
}
