//! A run of the laboratory: which rounds, when, and for how long.

use crate::child::{self, Heard};
use crate::gather::Gathered;
use crate::progress::Progress;
use crate::report::{Absent, FORMAT, Report};
use crate::round::{Order, Round, Subject};
use crate::{affinity, machine, rows};
use measures::machine::Watch;
use portcall::Ring;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// What is to be measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the table.
    pub subjects: Vec<Subject>,
    /// 0, 3 or both.
    pub rings: Vec<u8>,
    /// In some 10 seconds.
    pub quick: bool,
    /// The processor that vCPUs are to run on.
    pub pin: Option<usize>,
    /// How long a round of a guest of the caller's may take.
    pub timeout: Duration,
}

/// How long a round may take at all, besides what the first one took.
const DEADLINE: Duration = Duration::from_secs(5);

/// What rounds of a run have in common.
struct Pace {
    rounds: u32,
    /// Seconds of a round.
    share: f64,
    /// Samples of a round at most and at least.
    most: u32,
    least: u32,
    /// Whether a process does all rounds of a row.
    together: bool,
    /// Seconds that all rounds of a guest of the caller's may take.
    own: f64,
}

/// Rounds in which an observer takes times.
const WATCHED: u32 = 3;

const QUICK: Pace = Pace { rounds: 6, share: 0.01, most: 60, least: 2, together: true, own: 2.0 };
const FULL: Pace = Pace { rounds: 8, share: 0.2, most: 400, least: 4, together: false, own: 60.0 };

/// A subject in a ring, and what is left to do for it.
struct Job {
    gathered: Gathered,
    /// Samples a round, once they are known.
    samples: u32,
    /// Processes that are still to come.
    left: u32,
    /// Seconds that the last one took.
    seconds: f64,
}

/// Measures. Once `stop` is set, what was measured by then is all there is.
///
/// # Errors
/// The plan cannot be carried out here.
pub fn run(plan: &Plan, stop: &AtomicBool) -> Result<Report, String> {
    plan.pin.map_or(Ok(()), affinity::check)?;
    let began = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let (start, watch) = (Instant::now(), Watch::begin());
    let mut runner = Runner {
        plan,
        pace: if plan.quick { &QUICK } else { &FULL },
        stop,
        progress: Progress::new(),
        done: 0,
        jobs: jobs(plan),
    };
    runner.all();
    runner.progress.end();
    let seconds = start.elapsed().as_secs_f64();
    Ok(Report {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began,
        seconds,
        quick: plan.quick,
        pinned: plan.pin,
        interrupted: stop.load(Ordering::Relaxed),
        machine: machine::describe(watch.end()),
        rows: runner.jobs.into_iter().flat_map(|job| job.gathered.rows()).collect(),
    })
}

fn jobs(plan: &Plan) -> Vec<Job> {
    let each = |subject: &Subject| {
        let ring = |ring: &u8| {
            let mut gathered = Gathered::new(subject.clone(), *ring);
            gathered.absent = meaningless(subject, *ring);
            Job { gathered, samples: 0, left: 0, seconds: 0.05 }
        };
        plan.rings.iter().map(ring).collect::<Vec<_>>()
    };
    plan.subjects.iter().flat_map(each).collect()
}

fn meaningless(subject: &Subject, ring: u8) -> Option<Absent> {
    let Subject::Row(name) = subject else { return None };
    let ring = if ring == 0 { Ring::Zero } else { Ring::Three };
    rows::find(name)?.meaningless(ring).map(Absent::meaningless)
}

struct Runner<'r> {
    plan: &'r Plan,
    pace: &'r Pace,
    stop: &'r AtomicBool,
    progress: Progress,
    /// Processes that have ended.
    done: usize,
    jobs: Vec<Job>,
}

impl Runner<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Each row once, to see how long it takes; then all rounds by turns, and those in which an
    /// observer takes times.
    fn all(&mut self) {
        let after_first = if self.pace.together { 1 } else { self.pace.rounds + 1 };

        for job in self.jobs.iter_mut().filter(|job| job.gathered.absent.is_none()) {
            job.left = after_first + WATCHED;
        }
        self.each(Self::first);
        while self.jobs.iter().any(|job| job.left > 0) && !self.is_stopped() {
            self.each(Self::round);
        }
    }

    /// Whether all that is left of it is done by one process.
    fn is_alone(&self, at: usize) -> bool {
        self.pace.together && matches!(self.jobs[at].gathered.subject, Subject::Row(_))
    }

    fn each(&mut self, mut what: impl FnMut(&mut Self, usize)) {
        for at in 0..self.jobs.len() {
            if self.is_stopped() {
                return;
            }
            if self.jobs[at].left > 0 {
                what(self, at);
            }
        }
    }

    /// How long a row takes.
    fn first(&mut self, at: usize) {
        let job = &self.jobs[at];
        let row = match &job.gathered.subject {
            Subject::Row(name) => rows::find(name),
            Subject::Image { .. } => None,
        };
        let (samples, deadline) = match &row {
            Some(row) => (row.probe(), row.deadline().unwrap_or(DEADLINE)),
            None => (0, self.plan.timeout),
        };
        let Some(mut rounds) = self.obey(at, &[Round { samples, watched: false }], deadline) else {
            return;
        };
        let (pace, job) = (self.pace, &mut self.jobs[at]);
        let Some(Ok(taken)) = rounds.pop() else { return };
        if row.is_none() {
            // A guest of the caller's has its own number of samples, so that this is a round.
            let seconds = job.seconds;
            job.gathered.take(taken);
            job.left = rounds_of_own(pace, seconds);
            return;
        }
        // The timer's samples, and those left out, make it an estimate from above.
        let each = taken.seconds / f64::from(samples.max(1));
        #[expect(clippy::cast_possible_truncation, reason = "it is clamped")]
        #[expect(clippy::cast_sign_loss, reason = "a number of samples")]
        let samples = (pace.share / each.max(1e-9)) as u32;
        job.samples = samples.clamp(pace.least, pace.most);
    }

    /// The next round, or all of them.
    fn round(&mut self, at: usize) {
        let (pace, job) = (self.pace, &self.jobs[at]);
        let is_alone = self.is_alone(at);
        let round = |watched| Round { samples: job.samples, watched };
        let rounds = if is_alone {
            let mut rounds = vec![round(false); pace.rounds as usize];
            rounds.extend([round(true); WATCHED as usize]);
            rounds
        } else {
            vec![round(job.left <= WATCHED)]
        };
        let deadline = match &job.gathered.subject {
            Subject::Row(_) => DEADLINE + Duration::from_secs_f64(pace.share * 200.0),
            Subject::Image { .. } => self.plan.timeout,
        };
        let Some(answers) = self.obey(at, &rounds, deadline) else { return };
        let job = &mut self.jobs[at];
        for (round, answer) in rounds.iter().zip(answers) {
            match answer {
                Ok(taken) if round.watched => job.gathered.take_shares(taken),
                Ok(taken) => job.gathered.take(taken),
                Err(absent) => job.gathered.absent = Some(absent),
            }
        }
        if is_alone || job.gathered.absent.is_some() {
            job.left = 0;
        }
    }

    /// Has a process do it; `None` where there will be no more of that row.
    fn obey(
        &mut self,
        at: usize,
        rounds: &[Round],
        deadline: Duration,
    ) -> Option<Vec<Result<crate::round::Taken, Absent>>> {
        self.show(at);
        let gathered = &self.jobs[at].gathered;
        let order = Order {
            parent: std::process::id().cast_signed(),
            subject: gathered.subject.clone(),
            ring: gathered.ring,
            rounds: rounds.to_vec(),
            pin: self.plan.pin,
        };
        let start = Instant::now();
        let heard = child::obey(&order, deadline, &|| self.is_stopped());
        self.done += 1;
        let job = &mut self.jobs[at];
        job.seconds = start.elapsed().as_secs_f64();
        job.left = job.left.saturating_sub(1);
        match heard {
            Heard::Stopped => None,
            Heard::Answer(Ok(rounds)) => {
                let failed = rounds.iter().find_map(|round| round.as_ref().err());
                if let Some(absent) = failed {
                    job.gathered.absent = Some(absent.clone());
                    job.left = 0;
                    return None;
                }
                Some(rounds)
            }
            Heard::Answer(Err(absent)) => {
                job.gathered.absent = Some(absent);
                job.left = 0;
                None
            }
        }
    }

    fn show(&self, at: usize) {
        let gathered = &self.jobs[at].gathered;
        let name = match &gathered.subject {
            Subject::Row(name) => name.clone(),
            Subject::Image { path, .. } => inspect::printable(&path.to_string_lossy()),
        };
        let name = format!("{name}, ring {}", gathered.ring);
        let left: u32 = self.jobs.iter().map(|job| job.left).sum();
        let seconds = self.jobs.iter().map(|job| f64::from(job.left) * job.seconds).sum();
        let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.progress.at(self.done, self.done + left as usize, &name, seconds);
    }
}

/// Processes for a guest of the caller's, those with an observer among them: as many rounds as there
/// is time for.
fn rounds_of_own(pace: &Pace, seconds: f64) -> u32 {
    let fits = |count: &u32| f64::from(*count) * seconds <= pace.own;
    (1..pace.rounds).take_while(fits).last().unwrap_or(0) + WATCHED
}
