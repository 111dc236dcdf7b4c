//! What was counted beside a series of samples: guest instructions, exits and times.

use crate::statistics::Summary;
use crate::watch::{Seen, Totals};

/// The fewest instructions of a sample of nothing: its two readings of the clock. A KVM that has
/// counted fewer does not count all of a guest's.
const TIMER_INSTRUCTIONS: f64 = 2.0;

/// What had been counted at one call of the guest's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) instructions: Option<u64>,
    pub(crate) totals: Option<Totals>,
}

/// Samples that went to the host at once: how many were taken, and the instructions meanwhile, those
/// of the sending with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    samples: u64,
    instructions: u64,
}

/// What was counted beside one series, from its first call on.
#[derive(Debug, Default)]
pub(crate) struct Series {
    last: Option<Mark>,
    /// The first block, and the first one of another size.
    sizes: [Option<Block>; 2],
    blocks: u64,
    /// Samples that were taken, those that were not timed among them.
    samples: u64,
    /// Instructions, while each block had them counted.
    instructions: Option<u64>,
    exits: Option<u64>,
    /// What was seen when it began.
    first: Option<Totals>,
}

impl Series {
    /// A call with so many samples.
    pub(crate) fn mark(&mut self, samples: usize, mark: Mark) {
        let last = self.last.replace(mark);
        self.first = self.first.or(mark.totals);
        // The first call says that counting begins; one without samples later says it again.
        let Some(last) = last.filter(|_| samples > 0) else { return };
        // The first sample behind a call was not timed.
        let samples = samples as u64 + 1;
        let between = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        let instructions = between(mark.instructions, last.instructions);
        if let Some(instructions) = instructions {
            let block = Block { samples, instructions };
            match self.sizes {
                [None, _] => self.sizes[0] = Some(block),
                [Some(first), None] if first.samples != samples => self.sizes[1] = Some(block),
                _ => {}
            }
        }
        let before = if self.blocks == 0 { Some(0) } else { self.instructions };
        self.instructions = before.zip(instructions).map(|(sum, more)| sum.saturating_add(more));
        if let Some((now, then)) = mark.totals.zip(last.totals) {
            self.exits = Some(self.exits.unwrap_or_default() + (now - then).exits);
        }
        self.blocks += 1;
        self.samples = self.samples.saturating_add(samples);
    }

    /// Of a series of samples of nothing: the instructions of a block besides its samples, and of a
    /// sample. Two blocks that differ in size tell them apart.
    fn costs(&self) -> Option<(f64, f64)> {
        let [Some(one), Some(other)] = self.sizes else { return None };
        let sample = (real(other.instructions) - real(one.instructions))
            / (real(other.samples) - real(one.samples));
        let block = real(one.instructions) - real(one.samples) * sample;
        (sample >= TIMER_INSTRUCTIONS).then_some((block, sample))
    }

    /// Instructions that a sample takes beyond one of nothing.
    pub(crate) fn beyond(&self, nothing: &Self) -> Option<f64> {
        let (block, sample) = nothing.costs()?;
        let instructions = real(self.instructions?) - real(self.blocks) * block;
        Some(instructions / self.taken()? - sample)
    }

    /// Exits a sample, and the nanoseconds that this process takes for their answers: medians, so
    /// that one at which the process had to wait counts as one.
    pub(crate) fn watched(&self, seen: &Seen) -> Option<[f64; 2]> {
        let exits = real(self.exits?) / self.taken()?;
        let (first, last) = self.first.zip(self.last.and_then(|it| it.totals))?;
        Some([exits, ours(seen.answers(first, last), exits)])
    }

    fn taken(&self) -> Option<f64> {
        (self.samples > 0).then(|| real(self.samples))
    }
}

/// Of a sample with so many exits. Where these are a whole number, that many answers in a row are
/// one sample's: they need not be alike.
fn ours(answers: &[f64], exits: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and the answers' number")]
    #[expect(clippy::cast_sign_loss, reason = "as above")]
    let together = match exits.round() {
        whole if whole >= 1.0 && (exits - whole).abs() < 0.01 => whole as usize,
        _ => 1,
    };
    let sums: Vec<f64> = answers.chunks_exact(together).map(|it| it.iter().sum()).collect();
    let one = Summary::of(&sums).map_or(0.0, |it| it.median);
    one * exits / real(together as u64)
}

#[expect(clippy::cast_precision_loss, reason = "counts of what one guest does, below 2^52")]
const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{Mark, Series, ours};
    use crate::watch::Seen;

    /// A series in which a block takes 30 instructions and a sample `sample`.
    fn series(blocks: &[usize], sample: u64) -> Series {
        let (mut series, mut count) = (Series::default(), 1000);
        for samples in [0].iter().chain(blocks) {
            count += 30 + (*samples as u64 + 1) * sample;
            series.mark(*samples, Mark { instructions: Some(count), totals: None });
        }
        series
    }

    #[test]
    fn an_operations_instructions_are_what_they_are_to_the_last() {
        let nothing = series(&[32, 16], 21);
        for blocks in [&[256, 256, 7][..], &[1], &[256]] {
            assert_eq!(series(blocks, 24).beyond(&nothing), Some(3.0), "{blocks:?}");
        }
        assert_eq!(series(&[], 24).beyond(&nothing), None);
    }

    #[test]
    fn what_cannot_be_told_is_not_told() {
        let one_size = series(&[16, 16], 21);
        assert_eq!(series(&[256], 24).beyond(&one_size), None);
        // A KVM that counts what it emulates, and that is not all.
        let native = series(&[32, 16], 0);
        assert_eq!(series(&[256], 1).beyond(&native), None);
        let mut uncounted = Series::default();
        for samples in [0, 5, 9] {
            uncounted.mark(samples, Mark { instructions: None, totals: None });
        }
        assert_eq!(uncounted.beyond(&series(&[32, 16], 21)), None);
        assert_eq!(uncounted.watched(&Seen::default()), None);
    }

    #[test]
    fn one_answer_that_had_to_wait_changes_nothing() {
        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        let mut answers = vec![250.0; 99];
        answers.push(4e6);
        assert!(near(ours(&answers, 1.0), 250.0));
        // An exit in eight samples, and none at all.
        assert!(near(ours(&answers, 0.125), 250.0 / 8.0));
        assert!(near(ours(&[], 0.0), 0.0));
        // Two exits a sample that are not alike, and once something was in the way.
        let mut both = [100.0, 900.0].repeat(50);
        both[31] = 9e6;
        assert!(near(ours(&both, 2.0), 1000.0));
    }
}
