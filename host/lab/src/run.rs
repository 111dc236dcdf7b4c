//! A run of the laboratory: which rounds, when, and for how long.

use crate::child::{self, Heard};
use crate::gather::Gathered;
use crate::pace::{FULL, Pace, QUICK, WATCHED};
use crate::progress::Progress;
use crate::report::{Absence, Absent, Clock, FORMAT, Report};
use crate::round::{Order, Round, Subject, Taken};
use crate::{affinity, machine, rows};
use measures::machine::Watch;
use measures::statistics::Summary;
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

/// How long a round may take at all, besides what it is expected to.
const DEADLINE: Duration = Duration::from_secs(5);

/// A subject in a ring, and what is left to do for it.
struct Job {
    gathered: Gathered,
    /// Samples a round, once they are known.
    samples: u32,
    /// Processes that are still to come.
    left: u32,
    /// Seconds that the next one is expected to take: beside its samples, and a sample.
    beside: f64,
    each: f64,
}

impl Job {
    fn seconds(&self) -> f64 {
        self.beside + f64::from(self.samples) * self.each
    }

    fn fail(&mut self, absent: Absent) {
        self.gathered.fail(absent);
        self.left = 0;
    }

    /// The run's time is over. What has no round by now is not reached.
    fn no_more(&mut self) {
        if self.gathered.has_rows() {
            self.gathered
                .fail(Absent::not_reached("the run's time was over before its other rounds"));
        }
        self.left = 0;
    }
}

/// Measures. Once `stop` is set, what was measured by then is all there is.
///
/// # Errors
/// The plan cannot be carried out here.
pub fn run(plan: &Plan, stop: &AtomicBool) -> Result<Report, String> {
    run_by(plan, stop, &|order, deadline| {
        child::obey(order, deadline, &|| stop.load(Ordering::Relaxed))
    })
}

/// The same, with who obeys an order within a time.
fn run_by(
    plan: &Plan,
    stop: &AtomicBool,
    obey: &dyn Fn(&Order, Duration) -> Heard,
) -> Result<Report, String> {
    run_at(if plan.quick { &QUICK } else { &FULL }, plan, stop, obey)
}

fn run_at(
    pace: &Pace,
    plan: &Plan,
    stop: &AtomicBool,
    obey: &dyn Fn(&Order, Duration) -> Heard,
) -> Result<Report, String> {
    plan.pin.map_or(Ok(()), affinity::check)?;
    let began = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let (start, watch) = (Instant::now(), Watch::begin());
    let mut runner = Runner {
        plan,
        pace,
        stop,
        obey,
        start,
        watch,
        progress: Progress::new(),
        done: 0,
        jobs: jobs(plan),
    };
    runner.all();
    runner.watch.look();
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
        machine: machine::describe(runner.watch.end()),
        rows: runner.jobs.into_iter().flat_map(|job| job.gathered.rows()).collect(),
    })
}

fn jobs(plan: &Plan) -> Vec<Job> {
    let each = |subject: &Subject| {
        let ring = |ring: &u8| {
            let mut gathered = Gathered::new(subject.clone(), *ring);
            gathered.absent = meaningless(subject, *ring);
            Job { gathered, samples: 0, left: 0, beside: 0.05, each: 0.0 }
        };
        plan.rings.iter().map(ring).collect::<Vec<_>>()
    };
    plan.subjects.iter().flat_map(each).collect()
}

fn meaningless(subject: &Subject, ring: u8) -> Option<Absent> {
    let Subject::Row(name) = subject else { return None };
    let ring = if ring == 0 { Ring::Zero } else { Ring::Three };
    rows::find(name)?.mechanism().meaningless(ring).map(Absent::meaningless)
}

struct Runner<'r> {
    plan: &'r Plan,
    pace: &'r Pace,
    stop: &'r AtomicBool,
    obey: &'r dyn Fn(&Order, Duration) -> Heard,
    start: Instant,
    watch: Watch,
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
        self.fit();
        while self.jobs.iter().any(|job| job.left > 0) && !self.is_stopped() {
            self.each(Self::round);
        }
    }

    /// Fewer samples, where all of them would take too long.
    fn fit(&mut self) {
        let pace = self.pace;
        let rounds = f64::from(pace.rounds + WATCHED);
        let is_row =
            |job: &&mut Job| matches!(job.gathered.subject, Subject::Row(_)) && job.left > 0;
        let all = |of: fn(&Job) -> f64, jobs: &mut [Job]| {
            jobs.iter_mut().filter(is_row).map(|job| of(job) * rounds).sum::<f64>()
        };
        let beside = all(|job| job.beside, &mut self.jobs);
        let measuring = all(|job| job.seconds() - job.beside, &mut self.jobs);
        let share = ((pace.all - beside) / measuring.max(1e-9)).clamp(0.1, 1.0);
        for job in self.jobs.iter_mut().filter(is_row) {
            #[expect(clippy::cast_possible_truncation, reason = "no more than there were")]
            #[expect(clippy::cast_sign_loss, reason = "a number of samples")]
            let fewer = (f64::from(job.samples) * share) as u32;
            job.samples = fewer.max(pace.least);
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
            if self.jobs[at].left == 0 {
                continue;
            }
            self.watch.look();
            let is_row = matches!(self.jobs[at].gathered.subject, Subject::Row(_));
            if is_row && self.start.elapsed() > self.pace.limit {
                self.jobs[at].no_more();
                continue;
            }
            what(self, at);
        }
    }

    /// How long a row takes.
    fn first(&mut self, at: usize) {
        let job = &self.jobs[at];
        let row = match &job.gathered.subject {
            Subject::Row(name) => rows::find(name).map(|row| row.mechanism()),
            Subject::Image { .. } => None,
        };
        let (samples, deadline) = match &row {
            Some(row) => (row.probe(), row.deadline().unwrap_or(DEADLINE)),
            None => (0, self.plan.timeout),
        };
        let start = Instant::now();
        let Some(mut rounds) = self.obey(at, &[Round { samples, watched: false }], deadline) else {
            return;
        };
        let seconds = start.elapsed().as_secs_f64();
        let (pace, job) = (self.pace, &mut self.jobs[at]);
        let taken = match rounds.pop() {
            Some(Ok(taken)) => taken,
            Some(Err(absent)) => return job.fail(absent),
            None => return job.fail(Absent::failed("its process did no round")),
        };
        let Some(row) = row else {
            // A guest of the caller's has its own number of samples, so that this is a round.
            job.gathered.take(taken);
            job.beside = seconds;
            job.left = rounds_of_own(pace, seconds);
            return;
        };
        job.beside = (seconds - taken.seconds).clamp(0.0, 0.2);
        job.each = of_sample(&taken, samples);
        job.samples = pace.samples(job.each).min(row.most());
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
            Subject::Row(_) => {
                let count = u32::try_from(rounds.len()).unwrap_or(1);
                #[expect(clippy::cast_possible_truncation, reason = "10 at most")]
                #[expect(clippy::cast_sign_loss, reason = "a time")]
                let more = |seconds: f64| seconds.min(10.0).ceil() as u64;
                let expected = 10.0 * job.seconds() * f64::from(count);
                DEADLINE + Duration::from_secs(more(expected))
            }
            Subject::Image { .. } => self.plan.timeout,
        };
        let Some(answers) = self.obey(at, &rounds, deadline) else { return };
        let job = &mut self.jobs[at];
        if is_alone {
            job.left = 0;
        }
        for (round, answer) in rounds.iter().zip(answers) {
            match answer {
                Ok(taken) if round.watched => job.gathered.take_shares(taken),
                Ok(taken) => job.gathered.take(taken),
                Err(absent) => return job.fail(absent),
            }
        }
    }

    /// Has a process do it; `None` where nothing came of it.
    fn obey(
        &mut self,
        at: usize,
        rounds: &[Round],
        deadline: Duration,
    ) -> Option<Vec<Result<Taken, Absent>>> {
        self.show(at);
        let gathered = &self.jobs[at].gathered;
        let order = Order {
            parent: std::process::id().cast_signed(),
            subject: gathered.subject.clone(),
            ring: gathered.ring,
            rounds: rounds.to_vec(),
            pin: self.plan.pin,
        };
        let mut heard = self.within(&order, deadline);
        if matches!(&heard, Some(Heard::Killed(absent)) if is_odd(&order.subject, absent)) {
            heard = self.within(&order, deadline);
        }
        self.done += 1;
        let job = &mut self.jobs[at];
        job.left = job.left.saturating_sub(1);
        match heard {
            None => {
                job.no_more();
                None
            }
            Some(Heard::Stopped) => None,
            Some(Heard::Answer(Ok(rounds))) => Some(rounds),
            Some(Heard::Answer(Err(absent)) | Heard::Killed(absent)) => {
                job.fail(absent);
                None
            }
        }
    }

    /// The same by a process, which is ended with the run's time where that is sooner than its own
    /// deadline: `None` then, since nobody knows whether it would have come back.
    fn within(&self, order: &Order, deadline: Duration) -> Option<Heard> {
        let left = match order.subject {
            Subject::Row(_) => self.pace.end.saturating_sub(self.start.elapsed()),
            Subject::Image { .. } => Duration::MAX,
        };
        let heard = (self.obey)(order, deadline.min(left));
        let is_cut = left < deadline && matches!(heard, Heard::Killed(_));
        (!is_cut || self.start.elapsed() < self.pace.end).then_some(heard)
    }

    fn show(&self, at: usize) {
        let gathered = &self.jobs[at].gathered;
        let name = match &gathered.subject {
            Subject::Row(name) => name.clone(),
            Subject::Image { path, .. } => inspect::printable(&path.to_string_lossy()),
        };
        let name = format!("{name}, ring {}", gathered.ring);
        let left: u32 = self.jobs.iter().map(|job| job.left).sum();
        let seconds = self.jobs.iter().map(|job| f64::from(job.left) * job.seconds()).sum();
        let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.progress.at(self.done, self.done + left as usize, &name, seconds);
    }
}

/// Whether it is worth another try: a signal from outside, a machine that stood still. Not where a row
/// is known to wedge, nor where the caller said how long their guest may take.
fn is_odd(subject: &Subject, killed: &Absent) -> bool {
    let Subject::Row(name) = subject else { return killed.kind == Absence::Failed };
    rows::find(name).is_some_and(|row| row.mechanism().deadline().is_none())
}

/// Seconds of a sample. The median where the guest took the time, since a round of some samples may
/// have been interrupted; else all of the round, in which more happens than is timed.
fn of_sample(taken: &Taken, samples: u32) -> f64 {
    let piece = taken.pieces.first().filter(|it| it.clock == Clock::Guest);
    let median = piece.and_then(|it| Some((it, Summary::of(&it.samples)?.median)));
    match median {
        // An eighth more is taken as a warm-up. With its own timer, and that of the samples of nothing
        // beside it, come some instructions that take as long again.
        Some((piece, median)) => {
            let timer = Summary::of(&piece.timers).map_or(0.0, |it| it.median);
            (median * f64::from(piece.operations) + 4.0 * timer) * 1.125e-9
        }
        None => taken.seconds / f64::from(samples.max(1)),
    }
}

/// Processes for a guest of the caller's, those with an observer among them: as many rounds as there
/// is time for.
fn rounds_of_own(pace: &Pace, seconds: f64) -> u32 {
    let fits = |count: &u32| f64::from(*count) * seconds <= pace.own;
    (1..pace.rounds).take_while(fits).last().unwrap_or(0) + WATCHED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;
    use crate::round::{Observed, Piece};
    use std::cell::RefCell;

    fn plan(quick: bool, names: &[&str]) -> Plan {
        Plan {
            subjects: names.iter().map(|it| Subject::Row((*it).to_owned())).collect(),
            rings: vec![0],
            quick,
            pin: None,
            timeout: DEADLINE,
        }
    }

    fn taken(order: &Order, round: Round) -> Taken {
        let Subject::Row(name) = &order.subject else { unreachable!("rows alone") };
        let piece = Piece {
            name: name.clone(),
            clock: Clock::Guest,
            operations: 1,
            warm_up: 1,
            timers: vec![0.0],
            samples: vec![1e6; round.samples as usize],
            instructions: None,
            observed: round.watched.then_some(Observed { exits: 1.0, kernel: 1.0, ours: 1.0 }),
            dropped: 0,
            is_complete: true,
        };
        Taken { pieces: vec![piece], seconds: 0.01, ..Taken::default() }
    }

    fn good(order: &Order) -> Heard {
        Heard::Answer(Ok(order.rounds.iter().map(|it| Ok(taken(order, *it))).collect()))
    }

    /// Names and rounds, in the order in which they were asked for.
    fn asked(quick: bool) -> Vec<(Subject, usize, bool)> {
        let asked = RefCell::new(Vec::new());
        let never = AtomicBool::new(false);
        let report = run_by(&plan(quick, &["out-1", "in-1"]), &never, &|order, _| {
            let watched = order.rounds.iter().any(|it| it.watched);
            asked.borrow_mut().push((order.subject.clone(), order.rounds.len(), watched));
            good(order)
        });
        for row in report.expect("a report").rows {
            let measured = row.measured().expect("measured").clone();
            // The first process counts for nothing.
            assert_eq!(measured.rounds.len(), if quick { 6 } else { 8 });
            assert!(measured.shares.is_some() && measured.late.is_none());
        }
        asked.into_inner()
    }

    #[test]
    fn rounds_go_by_turns_and_those_that_are_watched_last() {
        let all = asked(false);
        assert_eq!(all.len(), 2 * (1 + 8 + 3));
        for (place, (subject, rounds, watched)) in all.iter().enumerate() {
            let name = if place % 2 == 0 { "out-1" } else { "in-1" };
            assert_eq!((subject, *rounds), (&Subject::Row(name.to_owned()), 1));
            assert_eq!(*watched, place >= 2 * 9, "{place}");
        }
        let quick: Vec<_> = asked(true).into_iter().map(|it| (it.1, it.2)).collect();
        assert_eq!(quick, [(1, false), (1, false), (9, true), (9, true)]);
    }

    #[test]
    fn a_late_failure_keeps_the_rounds_before_it() {
        for quick in [false, true] {
            let (never, count) = (AtomicBool::new(false), RefCell::new(0));
            let report = run_by(&plan(quick, &["out-1"]), &never, &|order, _| {
                let one = |round: &Round| {
                    *count.borrow_mut() += 1;
                    // The first is the one that counts for nothing.
                    if *count.borrow() <= 5 {
                        Ok(taken(order, *round))
                    } else {
                        Err(Absent::wrong("late"))
                    }
                };
                Heard::Answer(Ok(order.rounds.iter().map(one).collect()))
            });
            let report = report.expect("a report");
            let measured = report.rows[0].measured().expect("measured");
            assert_eq!((measured.rounds.len(), &measured.late), (4, &Some(Absent::wrong("late"))));
        }
    }

    #[test]
    fn a_killed_round_is_tried_once_more_unless_the_row_is_known_to_wedge() {
        let asked = |name, kills| {
            let (never, count) = (AtomicBool::new(false), RefCell::new(0));
            let report = run_by(&plan(false, &[name]), &never, &|order, _| {
                *count.borrow_mut() += 1;
                if (3..3 + kills).contains(&*count.borrow()) {
                    return Heard::Killed(Absent::wedged("killed"));
                }
                good(order)
            });
            let row = report.expect("a report").rows.remove(0);
            let measured = row.measured().expect("measured");
            (count.into_inner(), measured.rounds.len(), measured.late.is_some())
        };
        assert_eq!(asked("out-1", 1), (1 + 8 + 3 + 1, 8, false));
        assert_eq!(asked("out-1", 2), (1 + 1 + 2, 1, true));
        assert_eq!(asked("vmcall", 1), (1 + 1 + 1, 1, true));
    }

    #[test]
    fn a_stop_keeps_what_there_is_and_marks_what_was_not_reached() {
        let (stop, count) = (AtomicBool::new(false), RefCell::new(0));
        let report = run_by(&plan(false, &["out-1", "in-1"]), &stop, &|order, _| {
            *count.borrow_mut() += 1;
            if *count.borrow() == 4 {
                stop.store(true, Ordering::Relaxed);
                return Heard::Stopped;
            }
            good(order)
        });
        let report = report.expect("a report");
        assert!(report.interrupted);
        assert_eq!(report.rows[0].measured().map(|it| it.rounds.len()), Some(1));
        assert_eq!(report.rows[1].finding, crate::report::Finding::NotReached);
    }

    /// A run of two rows, of which each process takes so long: rounds, none where they were not reached,
    /// and the shortest deadline.
    fn timed(pace: &Pace, takes: Duration) -> (Vec<Option<usize>>, Duration) {
        let (never, shortest) = (AtomicBool::new(false), RefCell::new(Duration::MAX));
        let plan = plan(true, &["out-1", "in-1"]);
        let report = run_at(pace, &plan, &never, &|order, deadline| {
            shortest.replace_with(|it| deadline.min(*it));
            if takes > deadline {
                std::thread::sleep(deadline);
                return Heard::Killed(Absent::wedged("killed"));
            }
            std::thread::sleep(takes);
            good(order)
        });
        let rows = report.expect("a report").rows.into_iter();
        let of = |row: crate::report::Row| match row.finding {
            Finding::Measured(it) => Some(it.rounds.len()),
            Finding::NotReached => None,
            Finding::Absent(absent) => panic!("{absent:?}"),
        };
        (rows.map(of).collect(), shortest.into_inner())
    }

    #[test]
    fn what_the_runs_time_leaves_out_is_not_wedged() {
        let ms = Duration::from_millis;
        // Time for the first round alone, which counts for nothing.
        let pace = Pace { limit: ms(0), end: ms(60_000), ..QUICK };
        assert_eq!(timed(&pace, ms(1)).0, [None, None]);
        // One is on its way when the time is over.
        let pace = Pace { limit: ms(100), end: ms(200), ..QUICK };
        let (rows, shortest) = timed(&pace, ms(60_000));
        assert_eq!(rows, [None, None]);
        assert!(shortest <= ms(200), "{shortest:?}");
        // That it wedges is said where its own deadline is sooner.
        let (rows, _) = timed(&Pace { limit: ms(60_000), end: ms(90_000), ..QUICK }, ms(1));
        assert_eq!(rows, [Some(6), Some(6)]);
        let plan = Plan { subjects: vec![Subject::Row("vmcall".to_owned())], ..plan(true, &[]) };
        let never = AtomicBool::new(false);
        let report = run_at(&QUICK, &plan, &never, &|_, _| Heard::Killed(Absent::wedged("killed")));
        let finding = report.expect("a report").rows.remove(0).finding;
        assert_eq!(finding, Finding::Absent(Absent::wedged("killed")));
    }

    #[test]
    fn rounds_before_the_runs_time_was_over_stay() {
        let (never, count) = (AtomicBool::new(false), RefCell::new(0));
        let pace = Pace { limit: Duration::from_millis(300), end: Duration::from_secs(60), ..FULL };
        let report = run_at(&pace, &plan(false, &["out-1"]), &never, &|order, _| {
            *count.borrow_mut() += 1;
            if *count.borrow() == 4 {
                std::thread::sleep(Duration::from_millis(400));
            }
            good(order)
        });
        let report = report.expect("a report");
        let measured = report.rows[0].measured().expect("measured");
        assert_eq!(measured.rounds.len(), 3);
        let late = measured.late.as_ref().expect("fewer rounds");
        assert_eq!(late.kind, Absence::NotReached);
    }
}
