//! What guests say that they measured, kept within bounds. All of it is a claim: names of any text,
//! calls in any order, any numbers.

use crate::collect::{Sampled, Watched};
use crate::series::{Mark, Series};
use crate::statistics::Summary;
use crate::watch::Seen;
use portcall::sys::KvmStats;

/// The most characters of a name.
const NAME_MAX: usize = 200;

/// The most characters of a reason.
const WHY_MAX: usize = 1000;

/// The most measurements of a VM, and the most rows without one.
const ROWS_MAX: usize = 4096;

/// The most samples of a VM, those of the timer with them.
const SAMPLES_MAX: usize = 1 << 20;

/// Bytes of a sample.
const SAMPLE: usize = size_of::<u64>();

/// A call that is not in its place, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) &'static str);

/// What one VM's guest measured so far.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The rate of the guest's clock.
    pub(crate) khz: Option<u32>,
    pub(crate) counters: Option<KvmStats>,
    pub(crate) watched: Seen,
    pub(crate) absent: Vec<(String, String)>,
    pub(crate) left_out: u64,
    rows: Vec<Row>,
    /// The measurement that has begun and not ended. Beyond the most it is not among the rows.
    open: Option<Row>,
    /// Samples in all of them.
    samples: usize,
}

/// One measurement, in ticks.
#[derive(Debug, Default)]
struct Row {
    name: String,
    operations: u32,
    warm_up: u32,
    planned: u32,
    timer: Vec<i64>,
    samples: Vec<i64>,
    /// Samples that came, kept or not.
    taken: u64,
    dropped: u64,
    beside_timer: Series,
    beside_samples: Series,
    is_complete: bool,
}

impl Kept {
    pub(crate) fn begin(
        &mut self,
        name: &str,
        operations: u32,
        planned: u32,
        warm_up: u32,
    ) -> Result<(), Wrong> {
        if self.open.is_some() {
            return Err(Wrong("a measurement has begun and not ended; end it first"));
        }
        if operations == 0 {
            return Err(Wrong("a sample of no operations has no time for one; say 1 or more"));
        }
        if self.khz.is_none() {
            return Err(Wrong(
                "the host does not know how fast the guest's clock goes: the image has no note that \
                 it calls Lab, or KVM has no KVM_GET_TSC_KHZ",
            ));
        }
        let name = cut(name, NAME_MAX);
        self.open = Some(Row { name, operations, warm_up, planned, ..Row::default() });
        Ok(())
    }

    pub(crate) fn timer(&mut self, ticks: &[u8]) -> Result<(), Wrong> {
        let mark = self.mark();
        let row = open(&mut self.open, ticks)?;
        row.beside_timer.mark(ticks.len() / SAMPLE, mark);
        row.dropped += keep(&mut row.timer, ticks, &mut self.samples);
        Ok(())
    }

    pub(crate) fn samples(&mut self, ticks: &[u8]) -> Result<(), Wrong> {
        let mark = self.mark();
        let row = open(&mut self.open, ticks)?;
        let count = ticks.len() / SAMPLE;
        let taken = row.taken.saturating_add(count as u64);
        if taken > row.planned.into() {
            return Err(Wrong("more samples than the measurement was begun with"));
        }
        row.taken = taken;
        row.beside_samples.mark(count, mark);
        row.dropped += keep(&mut row.samples, ticks, &mut self.samples);
        Ok(())
    }

    pub(crate) fn end(&mut self) -> Result<(), Wrong> {
        let Some(mut row) = self.open.take() else { return Err(NOT_BEGUN) };
        row.is_complete = true;
        if self.rows.len() < ROWS_MAX {
            self.rows.push(row);
        } else {
            self.samples -= row.samples.len() + row.timer.len();
            self.left_out += 1;
        }
        Ok(())
    }

    pub(crate) fn absent(&mut self, name: &str, why: &str) {
        if self.absent.len() < ROWS_MAX {
            self.absent.push((cut(name, NAME_MAX), cut(why, WHY_MAX)));
        } else {
            self.left_out += 1;
        }
    }

    /// What was counted by now.
    fn mark(&self) -> Mark {
        let counters = self.counters.as_ref();
        let instructions = counters.and_then(|counters| counters.get("insn_emulation"));
        Mark { instructions, totals: self.watched.totals() }
    }

    pub(crate) fn sampled(&self) -> Vec<Sampled> {
        // None has begun without it.
        let Some(khz) = self.khz else { return Vec::new() };
        let all = self.rows.iter().chain(&self.open);
        all.map(|row| row.sampled(khz, &self.watched)).collect()
    }
}

const NOT_BEGUN: Wrong = Wrong("no measurement has begun");

/// The open row, which is to take these ticks.
fn open<'r>(row: &'r mut Option<Row>, ticks: &[u8]) -> Result<&'r mut Row, Wrong> {
    let row = row.as_mut().ok_or(NOT_BEGUN)?;
    if !ticks.len().is_multiple_of(SAMPLE) {
        return Err(Wrong("ticks are 8 bytes each, and these are no multiple of that"));
    }
    Ok(row)
}

/// Takes as many as there is room for; how many there was none for.
fn keep(to: &mut Vec<i64>, ticks: &[u8], samples: &mut usize) -> u64 {
    let count = ticks.len() / SAMPLE;
    let kept = count.min(SAMPLES_MAX - *samples);
    let (ticks, _) = ticks.as_chunks::<SAMPLE>();
    to.extend(ticks[..kept].iter().map(|ticks| i64::from_le_bytes(*ticks)));
    *samples += kept;
    (count - kept) as u64
}

/// At most so many characters of it.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

impl Row {
    fn sampled(&self, khz: u32, seen: &Seen) -> Sampled {
        #[expect(clippy::cast_precision_loss, reason = "2^52 ticks are weeks")]
        let ns = |ticks: &i64| *ticks as f64 * 1e6 / f64::from(khz);
        let timers: Vec<f64> = self.timer.iter().map(ns).collect();
        let timer = Summary::of(&timers).map_or(0.0, |timer| timer.median);
        let operations = f64::from(self.operations);
        let instructions = self.beside_samples.beyond(&self.beside_timer);
        let watched = self.beside_samples.watched(seen).map(|it| it.map(|it| it / operations));
        Sampled {
            name: self.name.clone(),
            operations: self.operations,
            warm_up: self.warm_up,
            planned: self.planned,
            timer,
            timers,
            samples: self.samples.iter().map(|it| (ns(it) - timer) / operations).collect(),
            dropped: self.dropped,
            instructions: instructions.map(|it| it / operations),
            watched: watched.map(|[exits, ours]| Watched { exits, ours }),
            is_complete: self.is_complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, ROWS_MAX, SAMPLES_MAX, WHY_MAX};

    fn kept() -> Kept {
        // 1 MHz: a tick is 1000 ns.
        Kept { khz: Some(1000), ..Kept::default() }
    }

    fn ticks(ticks: &[i64]) -> Vec<u8> {
        ticks.iter().flat_map(|it| it.to_le_bytes()).collect()
    }

    #[test]
    fn the_timers_median_is_subtracted_before_the_operations_share() {
        let mut kept = kept();
        assert_eq!(kept.begin("a", 4, 3, 1), Ok(()));
        assert_eq!(kept.timer(&ticks(&[1, 2, 9])), Ok(()));
        assert_eq!(kept.samples(&ticks(&[10, 2])), Ok(()));
        assert!(!kept.sampled()[0].is_complete);
        // The clock went backwards.
        assert_eq!(kept.samples(&ticks(&[-2])), Ok(()));
        assert_eq!(kept.end(), Ok(()));
        let [a] = &kept.sampled()[..] else { panic!("one") };
        assert_eq!((a.name.as_str(), a.operations, a.planned, a.warm_up), ("a", 4, 3, 1));
        assert_eq!((a.timer, a.is_complete, a.dropped), (2000.0, true, 0));
        assert_eq!(a.samples, [2000.0, 0.0, -1000.0]);
        assert_eq!((a.instructions, a.watched), (None, None));
    }

    #[test]
    fn what_is_out_of_its_place_is_refused_and_changes_nothing() {
        let mut kept = kept();
        let one = ticks(&[1]);
        assert!(kept.timer(&one).is_err() && kept.samples(&one).is_err() && kept.end().is_err());
        assert!(kept.begin("no operations", 0, 1, 0).is_err());
        assert_eq!(kept.sampled(), []);
        assert_eq!(kept.begin("first", 1, 2, 0), Ok(()));
        assert!(kept.begin("second", 1, 1, 0).is_err());
        for odd in [&one[..7], &one[..1], &[0; 17]] {
            assert!(kept.timer(odd).is_err() && kept.samples(odd).is_err());
        }
        assert!(kept.samples(&ticks(&[1; 3])).is_err());
        assert_eq!(kept.samples(&ticks(&[1; 2])), Ok(()));
        assert!(kept.samples(&one).is_err());
        assert_eq!(kept.samples(&[]), Ok(()));
        let [first] = &kept.sampled()[..] else { panic!("one") };
        assert_eq!((first.name.as_str(), first.samples.len()), ("first", 2));
        assert!(first.timer.abs() < f64::EPSILON && !first.is_complete);
    }

    #[test]
    fn without_a_rate_nothing_begins() {
        let mut kept = Kept::default();
        let refused = kept.begin("a", 1, 1, 0).expect_err("no rate");
        assert!(refused.0.contains("no note"), "{}", refused.0);
        kept.absent("b", "c");
        assert_eq!(kept.sampled(), []);
        assert_eq!(kept.absent.len(), 1);
    }

    #[test]
    fn names_and_reasons_are_cut_between_characters() {
        let mut kept = kept();
        let long = "\u{1f980}".repeat(5000);
        assert_eq!(kept.begin(&long, 1, 0, 0), Ok(()));
        kept.absent(&long, &long);
        assert_eq!(kept.sampled()[0].name.chars().count(), 200);
        let (name, why) = &kept.absent[0];
        assert_eq!((name.chars().count(), why.chars().count()), (200, WHY_MAX));
    }

    #[test]
    fn a_million_measurements_are_counted_and_not_kept() {
        let mut kept = kept();
        for _ in 0..1_000_000 {
            assert_eq!(kept.begin("a", 1, 1, 0), Ok(()));
            assert_eq!(kept.samples(&[0; 8]), Ok(()));
            assert_eq!(kept.end(), Ok(()));
            kept.absent("b", "c");
        }
        assert_eq!(
            (kept.rows.len(), kept.absent.len(), kept.samples),
            (ROWS_MAX, ROWS_MAX, ROWS_MAX)
        );
        assert_eq!(kept.left_out, 2 * (1_000_000 - ROWS_MAX as u64));
        // One that is on its way when the guest dies is shown besides.
        assert_eq!(kept.begin("last", 1, 1, 0), Ok(()));
        assert_eq!(kept.sampled().len(), ROWS_MAX + 1);
    }

    #[test]
    fn samples_beyond_the_most_are_counted_and_not_kept() {
        let mut kept = kept();
        let many = vec![0; 8 * SAMPLES_MAX];
        assert_eq!(kept.begin("a", 1, u32::MAX, 0), Ok(()));
        assert_eq!(kept.timer(&many[..8 * 10]), Ok(()));
        for _ in 0..3 {
            assert_eq!(kept.samples(&many), Ok(()));
        }
        assert_eq!(kept.end(), Ok(()));
        assert_eq!(kept.begin("b", 1, 1, 0), Ok(()));
        assert_eq!(kept.samples(&many[..8]), Ok(()));
        let [a, b] = &kept.sampled()[..] else { panic!("two") };
        assert_eq!((a.samples.len(), a.dropped), (SAMPLES_MAX - 10, 2 * SAMPLES_MAX as u64 + 10));
        assert_eq!((b.samples.len(), b.dropped), (0, 1));
    }

    #[test]
    fn the_extremes_of_a_tick_are_numbers() {
        let mut kept = kept();
        assert_eq!(kept.begin("a", u32::MAX, 2, u32::MAX), Ok(()));
        assert_eq!(kept.timer(&ticks(&[i64::MAX])), Ok(()));
        assert_eq!(kept.samples(&ticks(&[i64::MIN, i64::MAX])), Ok(()));
        assert!(kept.sampled()[0].samples.iter().all(|it| it.is_finite()));
    }
}
