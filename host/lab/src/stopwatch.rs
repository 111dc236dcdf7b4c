//! The host's clock, for what begins or ends on the host.

use crate::report::Absent;
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
}

impl Stopwatch {
    /// For so many samples of this VM. Opens KVM's counters, which nobody can in the jail.
    #[must_use]
    pub fn new(vm: &Vm, samples: u32) -> Self {
        Self { samples, counters: KvmStats::open(vm.vcpu_fd()).ok() }
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
        self.collect(vm, |vm| {
            let start = Instant::now();
            operation(vm)?;
            Ok(start.elapsed())
        })
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
        Ok(Timed { samples, warm_up, timer, instructions })
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
