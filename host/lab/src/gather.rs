//! What was measured of a subject so far, and the rows that it comes to.

use crate::report::{Absence, Absent, Finding, Measured, Row, Shares};
use crate::round::{Observed, Piece, Subject, Taken};
use crate::rows;
use measures::statistics::Summary;
use std::collections::HashMap;

/// The most rows that a guest of the caller's makes.
const ROWS_MAX: usize = 100;

/// A subject in a ring, and what is known of it.
pub(crate) struct Gathered {
    pub(crate) subject: Subject,
    pub(crate) ring: u8,
    /// Why there will be no more of it.
    pub(crate) absent: Option<Absent>,
    /// What a guest of the caller's ended in, if that was nothing good.
    pub(crate) end: Option<Absent>,
    /// What a round of a built-in row came to, behind others that were good.
    late: Option<Absent>,
    /// Names of a round that were too many to be kept.
    cut: usize,
    /// Whether a round of it came to an end.
    is_reached: bool,
    rows: Vec<Measurement>,
}

/// A row in the making.
struct Measurement {
    name: String,
    found: Result<Measured, Absent>,
    /// A round of an observer's each.
    observed: Vec<Observed>,
}

impl Measurement {
    fn finding(self, late: Option<Absent>) -> Finding {
        match self.found {
            Ok(measured) => {
                let shares = shares(&measured, &self.observed);
                let timer = Summary::of(&measured.timers).map_or(0.0, |it| it.median);
                Finding::Measured(Measured { timer, shares, late, ..measured })
            }
            Err(absent) => Finding::Absent(absent),
        }
    }
}

/// Where half of all operations' time goes: what an exit takes of the kernel and of this process is
/// measured, and the rest of p50 is KVM's. None where nothing would be left of it.
fn shares(measured: &Measured, observed: &[Observed]) -> Option<Shares> {
    let median = |part: fn(&Observed) -> f64| {
        let all: Vec<f64> = observed.iter().map(part).collect();
        Summary::of(&all).map(|it| it.median)
    };
    let (exits, kernel) = (median(|it| it.exits)?, median(|it| it.kernel)?);
    let ours = median(|it| it.ours)?;
    let kvm = measured.summary()?.median - kernel - ours;
    (kvm >= 0.0).then_some(Shares { exits, kvm, kernel, ours })
}

impl Gathered {
    pub(crate) fn new(subject: Subject, ring: u8) -> Self {
        let rows = Vec::new();
        let (absent, end, late) = (None, None, None);
        Self { subject, ring, absent, end, late, cut: 0, is_reached: false, rows }
    }

    /// Whether there is something of it already.
    pub(crate) const fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// There will be no more of it. What a built-in row has by now stays.
    pub(crate) fn fail(&mut self, absent: Absent) {
        let is_row = matches!(self.subject, Subject::Row(_));
        let place = if is_row && !self.rows.is_empty() { &mut self.late } else { &mut self.absent };
        *place = Some(absent);
    }

    /// Takes in a round.
    pub(crate) fn take(&mut self, mut taken: Taken) {
        self.is_reached = true;
        number(&mut taken.pieces);
        let is_new = |name: &str| self.rows.iter().all(|row| row.name != name);
        let new = taken.pieces.iter().filter(|it| is_new(&it.name)).count();
        self.cut = self.cut.max((self.rows.len() + new).saturating_sub(ROWS_MAX));
        for piece in taken.pieces {
            if !piece.is_complete {
                let end = taken.end.as_ref().map(|end| end.why.as_str());
                let why = end.unwrap_or("the guest ended before its last sample");
                let kind = taken.end.as_ref().map_or(Absence::Wrong, |end| end.kind);
                self.put(piece.name, Err(Absent { kind, why: why.to_owned() }));
                continue;
            }
            // Those that are left would be of the first part alone.
            if piece.dropped > 0 {
                let why = format!(
                    "{} of its samples are beyond the most that are kept of a run (a \
                    million and some): let it take fewer, or measure in several guests",
                    piece.dropped
                );
                self.put(piece.name, Err(Absent::wrong(why)));
                continue;
            }
            let (name, measured) = measured(piece, taken.jailed);
            self.put(name, Ok(measured));
        }
        for (name, why) in taken.absent {
            let name = self.beside_measured(name);
            self.put(name, Err(Absent::lacking(why)));
        }
        let left_out = taken.left_out;
        let too_many = || Absent::wrong(format!("{left_out} more than can be kept were measured"));
        let end = taken.end.or_else(|| (left_out > 0).then(too_many));
        self.end = end.or(self.end.take());
    }

    /// Takes in what only observed rounds say.
    pub(crate) fn take_shares(&mut self, mut taken: Taken) {
        number(&mut taken.pieces);
        for piece in taken.pieces {
            self.put_observed(&piece.name, piece.observed);
        }
    }

    fn put_observed(&mut self, name: &str, observed: Option<Observed>) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.observed.extend(observed);
        }
    }

    /// Under which name something is said to be absent: what was measured under the same one stays, and
    /// this is another row.
    fn beside_measured(&self, name: String) -> String {
        let is_measured =
            |name: &str| self.rows.iter().any(|row| row.name == name && row.found.is_ok());
        if !is_measured(&name) {
            return name;
        }
        let mut others = (2_u32..).map(|count| format!("{name} ({count})"));
        others.find(|it| !is_measured(it)).unwrap_or_default()
    }

    fn put(&mut self, name: String, found: Result<Measured, Absent>) {
        let has_room = self.rows.len() < ROWS_MAX;
        let known = self.rows.iter_mut().find(|row| row.name == name);
        match (known, found) {
            (None, found) if has_room => {
                self.rows.push(Measurement { name, found, observed: Vec::new() });
            }
            (None, _) => {}
            (Some(row), Ok(more)) => {
                if let Ok(measured) = &mut row.found {
                    measured.rounds.extend(more.rounds);
                    measured.timers.extend(more.timers);
                }
            }
            (Some(row), Err(absent)) => row.found = Err(absent),
        }
    }

    /// The rows that it comes to.
    pub(crate) fn rows(self) -> Vec<Row> {
        let (what, image, name) = match &self.subject {
            Subject::Row(name) => {
                let what = rows::find(name).map_or("", |it| it.what);
                (what.to_owned(), None, name.clone())
            }
            Subject::Image { path, .. } => {
                let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
                let image = path.to_string_lossy().into_owned();
                ("what a guest measures by itself".to_owned(), Some(image), name.into_owned())
            }
        };
        let ring = self.ring;
        let row =
            |name, finding| Row { name, what: what.clone(), ring, image: image.clone(), finding };
        if let (Subject::Row(_), Some(absent)) = (&self.subject, &self.absent) {
            return vec![row(name, Finding::Absent(absent.clone()))];
        }
        let late = self.late;
        let of = |it: Measurement| row(it.name.clone(), it.finding(late.clone()));
        let mut all: Vec<Row> = self.rows.into_iter().map(of).collect();
        if self.cut > 0 {
            let why = format!("CUT: {} more were measured, and {ROWS_MAX} rows are kept", self.cut);
            all.push(row(name.clone(), Finding::Absent(Absent::wrong(why))));
        }
        match (self.absent, all.is_empty()) {
            (Some(absent), _) => all.push(row(name, Finding::Absent(absent))),
            (None, true) => {
                let nothing = || Absent::wrong("its guest measures nothing (guest::measure)");
                let finding = match self.is_reached {
                    true => Finding::Absent(self.end.unwrap_or_else(nothing)),
                    false => Finding::NotReached,
                };
                all.push(row(name, finding));
            }
            // It ended badly behind a measurement that was complete.
            (None, false) => {
                let end = self.end.filter(|_| all.iter().all(|row| row.measured().is_some()));
                all.extend(end.map(|end| row(name, Finding::Absent(end))));
            }
        }
        all
    }
}

/// A name that a guest gives again is another measurement: they are told apart by their order.
fn number(pieces: &mut [Piece]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for piece in pieces {
        let count = seen.entry(piece.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            piece.name = format!("{} ({count})", piece.name);
        }
    }
}

/// To thousandths of a nanosecond, which no clock here has: so that files stay small.
fn rounded(mut times: Vec<f64>) -> Vec<f64> {
    times.iter_mut().for_each(|it| *it = (*it * 1e3).round() / 1e3);
    times
}

/// What the timer took in all rounds is not known yet.
fn measured(piece: Piece, jailed: bool) -> (String, Measured) {
    let measured = Measured {
        rounds: vec![rounded(piece.samples)],
        operations: piece.operations,
        warm_up: piece.warm_up,
        jailed,
        clock: piece.clock,
        timer: 0.0,
        timers: rounded(piece.timers),
        instructions: piece.instructions,
        shares: None,
        late: None,
    };
    (piece.name, measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Clock;

    fn piece(name: &str, is_complete: bool) -> Piece {
        Piece {
            name: name.to_owned(),
            clock: Clock::Guest,
            operations: 1,
            warm_up: 1,
            timers: Vec::new(),
            samples: vec![1.0, 2.0],
            instructions: None,
            observed: None,
            dropped: 0,
            is_complete,
        }
    }

    fn image() -> Gathered {
        let (path, arguments) = ("/a/mine.elf".into(), Vec::new());
        Gathered::new(Subject::Image { path, memory: None, arguments }, 3)
    }

    fn taken(pieces: Vec<Piece>, end: Option<Absent>) -> Taken {
        Taken { pieces, end, ..Taken::default() }
    }

    /// Names, rounds, and why there are none.
    fn found(gathered: Gathered) -> Vec<(String, Result<usize, String>)> {
        let of = |row: Row| match row.finding {
            Finding::Measured(measured) => (row.name, Ok(measured.rounds.len())),
            Finding::Absent(absent) => (row.name, Err(absent.why)),
            Finding::NotReached => (row.name, Err("not reached".to_owned())),
        };
        gathered.rows().into_iter().map(of).collect()
    }

    #[test]
    fn rounds_of_a_name_are_one_row() {
        let mut all = image();
        all.take(taken(vec![piece("a", true), piece("b", true)], None));
        all.take(taken(vec![piece("a", true), piece("b", true)], None));
        assert_eq!(found(all), [("a".to_owned(), Ok(2)), ("b".to_owned(), Ok(2))]);
    }

    #[test]
    fn a_name_that_comes_twice_in_a_run_is_two_rows() {
        let mut all = image();
        for _ in 0..2 {
            all.take(taken(vec![piece("a", true), piece("a", true)], None));
        }
        assert_eq!(found(all), [("a".to_owned(), Ok(2)), ("a (2)".to_owned(), Ok(2))]);
    }

    #[test]
    fn a_guest_that_dies_half_way_keeps_what_it_had() {
        let died = || Some(Absent::wrong("it died"));
        let why = || Err("it died".to_owned());
        let mut within = image();
        within.take(taken(vec![piece("a", true), piece("b", false)], died()));
        assert_eq!(found(within), [("a".to_owned(), Ok(1)), ("b".to_owned(), why())]);
        let mut behind = image();
        behind.take(taken(vec![piece("a", true)], died()));
        assert_eq!(found(behind), [("a".to_owned(), Ok(1)), ("mine".to_owned(), why())]);
        let mut before = image();
        before.take(taken(Vec::new(), died()));
        assert_eq!(found(before), [("mine".to_owned(), why())]);
    }

    #[test]
    fn a_guest_that_measures_nothing_is_said() {
        let mut all = image();
        all.take(taken(Vec::new(), None));
        let [(name, Err(why))] = &found(all)[..] else { unreachable!("one row") };
        assert_eq!(name, "mine");
        assert!(why.contains("measures nothing"), "{why}");
    }

    #[test]
    fn what_was_measured_stays_where_its_name_is_said_to_be_absent() {
        let mut all = image();
        for _ in 0..2 {
            let absent = ["a", "b"].map(|it| (it.to_owned(), "none".to_owned())).to_vec();
            all.take(Taken { absent, ..taken(vec![piece("a", true)], None) });
        }
        let none = || Err("none".to_owned());
        let wanted = [("a", Ok(2)), ("a (2)", none()), ("b", none())];
        assert_eq!(found(all), wanted.map(|(name, found)| (name.to_owned(), found)));
    }

    #[test]
    fn too_many_samples_are_said_to_be_that() {
        let mut all = image();
        all.take(taken(vec![Piece { dropped: 7, ..piece("a", true) }, piece("b", true)], None));
        let [(a, Err(why)), (b, Ok(1))] = &found(all)[..] else { unreachable!("two rows") };
        assert_eq!((a.as_str(), b.as_str()), ("a", "b"));
        assert!(why.starts_with("7 of its samples are beyond the most"), "{why}");
    }

    #[test]
    fn of_a_million_names_some_are_kept() {
        let mut all = image();
        let pieces = (0..10 * ROWS_MAX).map(|i| piece(&i.to_string(), true)).collect();
        all.take(taken(pieces, None));
        let rows = all.rows();
        assert_eq!(rows.len(), ROWS_MAX + 1);
        let Finding::Absent(absent) = &rows[ROWS_MAX].finding else { unreachable!("no figures") };
        assert!(absent.why.starts_with("CUT: 900 more"), "{}", absent.why);
    }

    #[test]
    fn each_round_keeps_what_its_own_timer_left() {
        let mut all = image();
        for (timers, samples) in [([10.0, 20.0, 30.0], 102.0), ([20.0, 60.0, 70.0004], 104.0)] {
            let (timers, samples) = (timers.to_vec(), vec![samples]);
            all.take(taken(vec![Piece { timers, samples, ..piece("a", true) }], None));
        }
        let rows = all.rows();
        let it = rows[0].measured().expect("measured");
        assert_eq!((it.timer, &it.rounds[..]), (25.0, &[vec![102.0], vec![104.0]][..]));
        assert_eq!(it.timers, [10.0, 20.0, 30.0, 20.0, 60.0, 70.0]);
    }

    #[test]
    fn what_fails_late_keeps_what_there_was() {
        let mut all = Gathered::new(Subject::Row("out-1".to_owned()), 0);
        all.take(taken(vec![piece("out-1", true)], None));
        all.fail(Absent::wedged("it did not come back"));
        let rows = all.rows();
        let it = rows[0].measured().expect("measured");
        assert_eq!(
            (it.rounds.len(), it.late.clone()),
            (1, Some(Absent::wedged("it did not come back")))
        );
        let mut none = Gathered::new(Subject::Row("out-1".to_owned()), 0);
        none.fail(Absent::wrong("at once"));
        assert_eq!(found(none), [("out-1".to_owned(), Err("at once".to_owned()))]);
    }

    #[test]
    fn shares_are_p50_in_parts() {
        let row = |rounds: &[[f64; 3]]| {
            let mut all = image();
            for _ in 0..2 {
                all.take(taken(vec![piece("a", true)], None));
            }
            for [exits, kernel, ours] in rounds {
                let observed = Some(Observed { exits: *exits, kernel: *kernel, ours: *ours });
                all.take_shares(taken(vec![Piece { observed, ..piece("a", true) }], None));
            }
            all.rows().remove(0).measured().expect("measured").shares
        };
        // p50 is 1.5; one of the rounds was disturbed.
        let it = row(&[[1.0, 0.25, 0.5], [1.0, 9.0, 70.0], [1.0, 0.25, 0.25]]).expect("some");
        assert_eq!((it.exits, it.kernel, it.ours, it.kvm), (1.0, 0.25, 0.5, 0.75));
        // Without an exit all of it is the guest's and KVM's.
        let it = row(&[[0.0; 3]]).expect("some");
        assert_eq!((it.kernel, it.ours, it.kvm), (0.0, 0.0, 1.5));
        assert_eq!(row(&[[1.0, 1.0, 1.0]]), None);
        assert_eq!(row(&[]), None);
    }

    #[test]
    fn a_row_that_was_not_reached_says_so() {
        let row = Gathered::new(Subject::Row("out-1".to_owned()), 0);
        assert_eq!(found(row), [("out-1".to_owned(), Err("not reached".to_owned()))]);
        assert_eq!(found(image()), [("mine".to_owned(), Err("not reached".to_owned()))]);
    }
}
