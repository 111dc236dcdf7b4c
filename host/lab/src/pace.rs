//! How many rounds, of how many samples, and when it is over.

use std::time::Duration;

/// What rounds of a run have in common.
pub(crate) struct Pace {
    pub(crate) rounds: u32,
    /// Seconds of a round; and where it has fewer samples than `enough` then.
    pub(crate) share: f64,
    pub(crate) longest: f64,
    pub(crate) enough: u32,
    /// Samples of a round at most and at least.
    pub(crate) most: u32,
    pub(crate) least: u32,
    /// Seconds of all rounds of the built-in rows, beyond which they have fewer samples.
    pub(crate) all: f64,
    /// Whether a process does all rounds of a row.
    pub(crate) together: bool,
    /// Seconds that all rounds of a guest of the caller's may take.
    pub(crate) own: f64,
    /// After which no further round of a built-in row is begun.
    pub(crate) limit: Duration,
    /// After which one that has begun is ended: even where rows wedge late, twice.
    pub(crate) end: Duration,
}

/// Rounds in which an observer takes times.
pub(crate) const WATCHED: u32 = 3;

pub(crate) const QUICK: Pace = Pace {
    rounds: 6,
    share: 0.003,
    longest: 0.003,
    enough: 2,
    most: 60,
    least: 2,
    all: 4.0,
    together: true,
    own: 2.0,
    limit: Duration::from_secs(8),
    end: Duration::from_secs(9),
};
pub(crate) const FULL: Pace = Pace {
    rounds: 8,
    share: 0.1,
    longest: 0.8,
    enough: 50,
    most: 1000,
    least: 4,
    all: 75.0,
    together: false,
    own: 60.0,
    limit: Duration::from_secs(150),
    end: Duration::from_secs(170),
};

impl Pace {
    /// Samples of a round, where one takes so many seconds.
    pub(crate) fn samples(&self, each: f64) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        #[expect(clippy::cast_sign_loss, reason = "a number of samples")]
        let fit = |seconds: f64| (seconds / each.max(1e-9)) as u32;
        let wanted = fit(self.share).max(fit(self.longest).min(self.enough));
        wanted.clamp(self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn slow_rows_get_their_samples_and_quick_ones_no_more_than_the_most() {
        assert_eq!(
            [1e-6, 1e-3, 10e-3, 100e-3, 10.0].map(|it| FULL.samples(it)),
            [1000, 100, 50, 8, 4]
        );
    }
}
