//! What a number of samples comes to, without a guess at how they are distributed: order statistics
//! alone, since a busy machine's times have a long tail.

use serde::{Deserialize, Serialize};

/// How often an interval is to hold the median.
const CONFIDENCE: f64 = 0.95;

/// Samples in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// Half of the samples are no larger.
    pub median: f64,
    /// Bounds of the median's 95% interval; `None` where there are too few samples for one.
    pub interval: Option<(f64, f64)>,
    /// A tenth of the samples are no larger.
    pub p10: f64,
    /// A tenth are no smaller.
    pub p90: f64,
    /// One in a hundred is no smaller.
    pub p99: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Summary {
    /// `None` where there are no samples.
    pub fn of(samples: &[f64]) -> Option<Self> {
        Self::with_interval(samples, samples)
    }

    /// Of samples that came in batches, of `size` each. What a batch has in common, as where its
    /// processes lie in memory, is noise as well, of which all its samples tell no more than one:
    /// the interval is that of the batches' medians. The median is that of all samples.
    pub fn of_batches(samples: &[f64], size: usize) -> Option<Self> {
        Self::with_interval(samples, &medians(samples.chunks(size.max(1))))
    }

    /// The same of batches that differ in size.
    pub fn of_rounds(rounds: &[Vec<f64>]) -> Option<Self> {
        Self::with_interval(&rounds.concat(), &medians(rounds.iter().map(Vec::as_slice)))
    }

    fn with_interval(samples: &[f64], independent: &[f64]) -> Option<Self> {
        let mut independent = independent.to_vec();
        independent.sort_by(f64::total_cmp);
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let last = count.checked_sub(1)?;
        let median = f64::midpoint(sorted[last / 2], sorted[count / 2]);
        // Batches that differ a lot may have all of their middle beside that of the samples.
        let interval = outermost(independent.len()).map(|rank| {
            let (low, high) = (independent[rank], independent[independent.len() - 1 - rank]);
            (low.min(median), high.max(median))
        });
        // The nearest rank.
        let (tenth, hundredth) = (count.div_ceil(10) - 1, count.div_ceil(100) - 1);
        let (p10, p90, p99) = (sorted[tenth], sorted[last - tenth], sorted[last - hundredth]);
        Some(Self { count, median, interval, p10, p90, p99, least: sorted[0], most: sorted[last] })
    }

    /// Whether the two medians differ by more than chance makes them: their intervals have nothing
    /// in common. Stricter than a test at the same level, on purpose. `None` where one has none.
    pub fn differs(&self, other: &Self) -> Option<bool> {
        let ((low, high), (other_low, other_high)) = self.interval.zip(other.interval)?;
        Some(high < other_low || other_high < low)
    }
}

/// The median of each, of those that have samples.
fn medians<'a>(batches: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
    batches.filter_map(|it| Some(Summary::of(it)?.median)).collect()
}

/// The largest rank, from 0, such that the samples of this rank from both ends enclose the median
/// of what was sampled in 95% of all cases: each sample is below it as often as above, so that
/// their number below it is binomial. `None` below six samples.
fn outermost(count: usize) -> Option<usize> {
    #[expect(clippy::cast_precision_loss, reason = "counts of samples, far below 2^52")]
    let real = |count: usize| count as f64;
    // ln(C(n, i) / 2^n), since 2^n leaves the range of a double at a thousand samples.
    let mut term = -real(count) * std::f64::consts::LN_2;
    let (mut below, mut ranks) = (0.0, 0);
    while ranks < count / 2 {
        below += term.exp();
        if 2.0 * below > 1.0 - CONFIDENCE {
            break;
        }
        ranks += 1;
        term += (real(count - ranks + 1) / real(ranks)).ln();
    }
    ranks.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(count: u32) -> Vec<f64> {
        // Out of order, each once: 7 has no factor in common with these counts.
        (0..count).map(|i| f64::from(i * 7 % count + 1)).collect()
    }

    #[test]
    fn medians_and_tenths_of_known_data() {
        let odd = Summary::of(&[3.0, 1.0, 2.0]).expect("samples");
        assert_eq!((odd.count, odd.median, odd.p10, odd.p90), (3, 2.0, 1.0, 3.0));
        let even = Summary::of(&[4.0, 1.0, 2.0, 3.0]).expect("samples");
        assert!((even.median - 2.5).abs() < 1e-9);
        let hundred = Summary::of(&up_to(100)).expect("samples");
        assert_eq!((hundred.p10, hundred.p90), (10.0, 91.0));
        assert_eq!(Summary::of(&[]), None);
    }

    /// The ranks of tables of the sign test (from 1): 6 samples 1 and 6, 10 samples 2 and 9, 100
    /// samples 40 and 61.
    #[test]
    fn intervals_are_those_of_the_sign_test() {
        let of = |count| Summary::of(&up_to(count)).expect("samples").interval;
        assert_eq!(of(5), None);
        assert_eq!(of(6), Some((1.0, 6.0)));
        assert_eq!(of(10), Some((2.0, 9.0)));
        assert_eq!(of(100), Some((40.0, 61.0)));
        let (low, high) = of(5000).expect("enough");
        assert!((2428.0..=2433.0).contains(&low) && (5000.0 - high + 1.0 - low).abs() < 1e-9);
    }

    #[test]
    fn a_batch_counts_once() {
        // Ten batches of ten, each all alike: as much as ten samples say.
        let samples: Vec<f64> = (0..100).map(|i| f64::from(i / 10 + 1)).collect();
        let batches = Summary::of_batches(&samples, 10).expect("samples");
        assert_eq!((batches.count, batches.interval), (100, Some((2.0, 9.0))));
        assert_eq!(Summary::of_batches(&samples, 20).expect("samples").interval, None);
        assert_eq!(Summary::of_batches(&samples, 1), Summary::of(&samples));
    }

    #[test]
    fn only_intervals_apart_are_a_difference() {
        let of = |offset: f64| {
            let samples: Vec<f64> = up_to(10).iter().map(|it| it + offset).collect();
            Summary::of(&samples).expect("samples")
        };
        assert_eq!(of(0.0).differs(&of(7.0)), Some(false));
        assert_eq!(of(0.0).differs(&of(8.0)), Some(true));
        assert_eq!(of(8.0).differs(&of(0.0)), Some(true));
        assert_eq!(of(0.0).differs(&Summary::of(&[1.0]).expect("one")), None);
    }
}
