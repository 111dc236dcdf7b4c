//! The host's clock, for what begins or ends on the host.

use crate::report::{Absent, Shares};
use portcall::sys::KvmStats;
use portcall::{ExitEvent, Observer, Vm};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Readings by which the clock's own cost is found.
const READINGS: usize = 64;

/// Measures what begins or ends on the host.
#[derive(Debug)]
pub struct Stopwatch {
    samples: u32,
    counters: Option<KvmStats>,
    seen: Option<Exits>,
}

/// The exits of a VM, and the nanoseconds in KVM_RUN before them.
#[derive(Clone, Debug, Default)]
pub struct Exits(Arc<[AtomicU64; 2]>);

impl Exits {
    fn now(&self) -> [f64; 2] {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        [&self.0[0], &self.0[1]].map(|it| it.load(Relaxed) as f64)
    }
}

impl Observer for Exits {
    fn exit(&mut self, event: &ExitEvent<'_>) {
        let time = event.left.saturating_duration_since(event.entered);
        self.0[0].fetch_add(1, Relaxed);
        self.0[1].fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
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
    /// Where the time went, the system calls in KVM's part, if an observer saw it.
    pub shares: Option<Shares>,
}

impl Stopwatch {
    /// For so many samples of this VM. Opens KVM's counters, which nobody can in the jail.
    #[must_use]
    pub fn new(vm: &Vm, samples: u32, seen: Option<Exits>) -> Self {
        Self { samples, counters: KvmStats::open(vm.vcpu_fd()).ok(), seen }
    }

    /// How many samples are wanted.
    #[must_use]
    pub const fn samples(&self) -> u32 {
        self.samples
    }

    /// Times `operation`, from its call to its return.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn time(
        &self,
        vm: &mut Vm,
        mut operation: impl FnMut(&mut Vm) -> Result<(), Absent>,
    ) -> Result<Timed, Absent> {
        let mut all = Vec::new();
        let mut timed = self.collect(vm, |vm| {
            all.extend(self.seen.as_ref().map(Exits::now));
            let start = Instant::now();
            operation(vm)?;
            Ok(start.elapsed())
        })?;
        all.extend(self.seen.as_ref().map(Exits::now));
        // Those behind the warm-up, from the first to the end.
        timed.shares = all.get(timed.warm_up as usize).zip(all.last()).map(|(first, last)| {
            let count = f64::from(self.samples.max(1));
            let mean = timed.samples.iter().sum::<f64>() / count;
            let [exits, kvm] = [0, 1].map(|it| (last[it] - first[it]) / count);
            Shares { exits, kvm, kernel: 0.0, ours: (mean - kvm).max(0.0) }
        });
        Ok(timed)
    }

    /// The same where the operation itself says how long it took.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn collect(
        &self,
        vm: &mut Vm,
        mut operation: impl FnMut(&mut Vm) -> Result<Duration, Absent>,
    ) -> Result<Timed, Absent> {
        let warm_up = (self.samples / 8).clamp(1, 64);
        for _ in 0..warm_up {
            operation(vm)?;
        }
        let timer = own_cost();
        let mut samples = Vec::new();
        let before = self.instructions();
        for _ in 0..self.samples {
            samples.push(nanoseconds(operation(vm)?) - timer);
        }
        let count = self.instructions().zip(before).map(|(now, before)| now.saturating_sub(before));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let instructions = count.map(|count| count as f64 / f64::from(self.samples.max(1)));
        Ok(Timed { samples, warm_up, timer, instructions, shares: None })
    }

    fn instructions(&self) -> Option<u64> {
        self.counters.as_ref()?.get("insn_emulation")
    }
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
