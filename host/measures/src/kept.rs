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

/// The most samples of a VM, and the most of the timer besides: a million that are timed leave room for
/// what the timer takes.
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
    /// Those of the timer.
    timers: usize,
}

/// Where samples begin that have none of the timer's among them: how many of either there were then.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    timer: usize,
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
    /// No more than there are samples.
    blocks: Vec<Block>,
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
        row.dropped += keep(&mut row.timer, ticks, &mut self.timers);
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
        let block = Block { timer: row.timer.len(), samples: row.samples.len() };
        row.dropped += keep(&mut row.samples, ticks, &mut self.samples);
        let is_new = row.blocks.last().is_none_or(|last| last.timer != block.timer);
        if is_new && row.samples.len() > block.samples {
            row.blocks.push(block);
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) -> Result<(), Wrong> {
        let Some(mut row) = self.open.take() else { return Err(NOT_BEGUN) };
        row.is_complete = true;
        if self.rows.len() < ROWS_MAX {
            self.rows.push(row);
        } else {
            self.samples -= row.samples.len();
            self.timers -= row.timer.len();
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
fn keep(to: &mut Vec<i64>, ticks: &[u8], all: &mut usize) -> u64 {
    let count = ticks.len() / SAMPLE;
    let kept = count.min(SAMPLES_MAX - *all);
    let (ticks, _) = ticks.as_chunks::<SAMPLE>();
    to.extend(ticks[..kept].iter().map(|ticks| i64::from_le_bytes(*ticks)));
    *all += kept;
    (count - kept) as u64
}

/// At most so many characters of it.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

impl Row {
    /// Each block's samples of the timer, which are those right before and right behind it, and its
    /// own.
    fn beside(&self) -> impl Iterator<Item = [&[i64]; 2]> {
        let end = Block { timer: self.timer.len(), samples: self.samples.len() };
        let first = self.blocks.iter().copied();
        let before = [Block::default()].into_iter().chain(first.clone());
        let behind = first.clone().skip(1).chain([end]);
        before.zip(first).zip(behind).map(|((before, block), behind)| {
            let timer = self.timer.get(before.timer..behind.timer).unwrap_or_default();
            [timer, self.samples.get(block.samples..behind.samples).unwrap_or_default()]
        })
    }

    fn sampled(&self, khz: u32, seen: &Seen) -> Sampled {
        #[expect(clippy::cast_precision_loss, reason = "2^52 ticks are weeks")]
        let ns = |ticks: &i64| *ticks as f64 * 1e6 / f64::from(khz);
        let median = |ticks: &[i64]| {
            let times: Vec<f64> = ticks.iter().map(ns).collect();
            Summary::of(&times).map_or(0.0, |it| it.median)
        };
        let operations = f64::from(self.operations);
        let instructions = self.beside_samples.beyond(&self.beside_timer);
        let watched = self.beside_samples.watched(seen).map(|it| it.map(|it| it / operations));
        let (mut timers, mut samples) = (Vec::new(), Vec::new());
        for [beside, block] in self.beside() {
            let timer = median(beside);
            samples.extend(block.iter().map(|it| (ns(it) - timer) / operations));
            timers.push(timer);
        }
        Sampled {
            name: self.name.clone(),
            operations: self.operations,
            warm_up: self.warm_up,
            planned: self.planned,
            timer: median(&self.timer),
            timers,
            samples,
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

    /// A machine at two speeds, which change between rounds and within them: a timer of 9 us, an
    /// operation of 2.2, and both 1.4 times that.
    #[test]
    fn a_block_has_its_own_neighbourhoods_timer_subtracted() {
        // Out of order, so that no median is an accident.
        let noise = |i: usize| f64::from(u32::try_from(i * 7 % 11).expect("small")) * 20.0 - 100.0;
        let slow_rounds: [fn(usize) -> bool; 4] =
            [|_| false, |_| true, |block| block >= 10, |block| (5..15).contains(&block)];
        let (mut all_timers, mut all_samples) = (Vec::new(), Vec::new());
        for is_slow in slow_rounds {
            let mut kept = Kept { khz: Some(1_000_000), ..Kept::default() };
            let times = |count: usize, time: f64, block: usize| {
                let speed = if is_slow(block) { 1.4 } else { 1.0 };
                #[expect(clippy::cast_possible_truncation, reason = "microseconds")]
                let tick = |i| (time * speed + noise(i)) as i64;
                (0..count).map(tick).collect::<Vec<_>>()
            };
            assert_eq!(kept.begin("a", 1, 20 * 32, 8), Ok(()));
            assert_eq!(kept.timer(&ticks(&times(24, 9000.0, 0))), Ok(()));
            for block in 0..20 {
                assert_eq!(kept.samples(&ticks(&times(32, 11_200.0, block))), Ok(()));
                assert_eq!(kept.timer(&ticks(&times(24, 9000.0, block))), Ok(()));
            }
            let sampled = kept.sampled().remove(0);
            assert_eq!((sampled.samples.len(), sampled.timers.len()), (640, 20));
            // One block has a timer before it and another behind it; of all others each is right.
            let is_wrong = |(i, sample): (usize, &f64)| {
                let wanted = if is_slow(i / 32) { 2200.0 * 1.4 } else { 2200.0 };
                (sample - wanted).abs() > 150.0
            };
            let wrong = sampled.samples.iter().enumerate().filter(|it| is_wrong(*it)).count();
            assert!(wrong <= 2 * 32, "{wrong}");
            all_timers.extend(kept.rows.iter().chain(&kept.open).flat_map(|row| row.timer.clone()));
            all_samples.push(kept.open.expect("open").samples);
        }
        // One timer for all of them is wrong by microseconds.
        all_timers.sort_unstable();
        all_samples.iter_mut().for_each(|round| round.sort_unstable());
        let timer = all_timers[all_timers.len() / 2];
        let off = [2200, 3080]
            .into_iter()
            .zip(&all_samples)
            .map(|(wanted, round)| (round[round.len() / 2] - timer - wanted).abs());
        assert!(off.clone().max() > Some(2000), "{:?}", off.collect::<Vec<_>>());
    }

    #[test]
    fn samples_and_the_timers_come_in_any_order() {
        let of = |calls: &[(bool, &[i64])]| {
            let mut kept = kept();
            assert_eq!(kept.begin("a", 1, 100, 0), Ok(()));
            for (is_timer, block) in calls {
                let block = ticks(block);
                let done = if *is_timer { kept.timer(&block) } else { kept.samples(&block) };
                assert_eq!(done, Ok(()));
            }
            let it = kept.sampled().remove(0);
            let thousands = |all: Vec<f64>| all.iter().map(|it| it / 1e3).collect::<Vec<_>>();
            (thousands(it.samples), thousands(it.timers))
        };
        // None of the timer's; none but these.
        assert_eq!(of(&[(false, &[7, 8])]), (vec![7.0, 8.0], vec![0.0]));
        assert_eq!(of(&[(true, &[7, 8])]), (vec![], vec![]));
        // Behind the samples alone, and before all of them.
        assert_eq!(of(&[(false, &[7]), (false, &[8]), (true, &[2])]), (vec![5.0, 6.0], vec![2.0]));
        assert_eq!(of(&[(true, &[2]), (false, &[7]), (false, &[8])]), (vec![5.0, 6.0], vec![2.0]));
        // Calls without any are nothing between.
        let empty = of(&[(true, &[2]), (false, &[]), (false, &[7]), (true, &[]), (false, &[8])]);
        assert_eq!(empty, (vec![5.0, 6.0], vec![2.0]));
        // Those on both sides of a block, but none beyond the next.
        let both = of(&[
            (true, &[1]),
            (true, &[2]),
            (false, &[10]),
            (true, &[3]),
            (false, &[20]),
            (true, &[9, 9]),
            (false, &[30]),
        ]);
        assert_eq!(both, (vec![8.0, 11.0, 21.0], vec![2.0, 9.0, 9.0]));
    }

    #[test]
    fn a_million_blocks_are_within_bounds() {
        let mut kept = kept();
        assert_eq!(kept.begin("a", 1, u32::MAX, 0), Ok(()));
        for tick in 0..2_000_000 {
            assert_eq!(kept.timer(&ticks(&[tick % 9])), Ok(()));
            assert_eq!(kept.samples(&ticks(&[tick])), Ok(()));
        }
        let it = kept.sampled().remove(0);
        assert_eq!((it.samples.len(), it.timers.len()), (SAMPLES_MAX, SAMPLES_MAX));
        assert_eq!(it.dropped, 2 * (2_000_000 - SAMPLES_MAX as u64));
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
        assert_eq!((a.samples.len(), a.dropped), (SAMPLES_MAX, 2 * SAMPLES_MAX as u64));
        assert_eq!((b.samples.len(), b.dropped), (0, 1));
    }

    /// As `guest::measure` takes them: 24 of the timer beside each block of at most 256.
    #[test]
    fn an_honest_million_is_kept_whole() {
        let mut kept = kept();
        assert_eq!(kept.begin("a", 1, 1_000_000, 0), Ok(()));
        assert_eq!(kept.timer(&[0; 8 * 24]), Ok(()));
        for block in vec![0; 8 * 1_000_000].chunks(8 * 256) {
            assert_eq!(kept.samples(block), Ok(()));
            assert_eq!(kept.timer(&[0; 8 * 24]), Ok(()));
        }
        assert_eq!(kept.end(), Ok(()));
        let it = kept.sampled().remove(0);
        assert_eq!((it.samples.len(), it.dropped), (1_000_000, 0));
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
