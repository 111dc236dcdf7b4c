//! A run in bins of one width, which doubles whenever the run has become too long for them.

use crate::trace::record::{Time, Turn};

/// How many there are at most.
const MOST: usize = 960;
/// The width that they begin with, in nanoseconds.
const WIDTH: u64 = 1000;

/// What exits are told apart by in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Call,
    Console,
    Port,
    Memory,
    Stop,
    Other,
}

impl Class {
    pub(crate) const ALL: [Self; 6] =
        [Self::Call, Self::Console, Self::Port, Self::Memory, Self::Stop, Self::Other];

    /// Its name in style and in words.
    pub(crate) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Call => ("c-call", "typed calls"),
            Self::Console => ("c-console", "console"),
            Self::Port => ("c-port", "other ports"),
            Self::Memory => ("c-memory", "memory-mapped I/O"),
            Self::Stop => ("c-stop", super::STOPS),
            Self::Other => ("c-other", "others"),
        }
    }
}

/// What happened in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bin {
    /// Exits, by class.
    pub(crate) exits: [u64; Class::ALL.len()],
    /// Nanoseconds in the guest and in the host.
    pub(crate) guest: u64,
    pub(crate) host: u64,
}

impl Bin {
    fn merged(pair: &[Self]) -> Self {
        let mut sum = Self::default();
        for bin in pair {
            sum.exits.iter_mut().zip(bin.exits).for_each(|(to, from)| *to += from);
            sum.guest += bin.guest;
            sum.host += bin.host;
        }
        sum
    }

    pub(crate) fn total(&self) -> u64 {
        self.exits.iter().sum()
    }
}

/// The bins of a run, from its first KVM_RUN on.
#[derive(Debug)]
pub(crate) struct Bins {
    start: Option<Time>,
    pub(crate) width: u64,
    pub(crate) bins: Vec<Bin>,
}

impl Default for Bins {
    fn default() -> Self {
        Self { start: None, width: WIDTH, bins: Vec::new() }
    }
}

impl Bins {
    /// Adds an exit with the time before it and its answer.
    pub(crate) fn add(&mut self, turn: &Turn, class: Class) {
        let start = *self.start.get_or_insert(turn.entered);
        let [entered, left, until] =
            [turn.entered, turn.left, turn.until].map(|at| at.saturating_sub(start));
        while until / self.width >= MOST as u64 {
            self.bins = self.bins.chunks(2).map(Bin::merged).collect();
            self.width *= 2;
        }
        let place = |at: Time| usize::try_from(at / self.width).unwrap_or(usize::MAX);
        if self.bins.len() <= place(until) {
            self.bins.resize(place(until) + 1, Bin::default());
        }
        self.bins[place(left)].exits[class as usize] += 1;
        self.spread(entered, left, |bin| &mut bin.guest);
        self.spread(left, until, |bin| &mut bin.host);
    }

    /// Adds the time between two moments to the bins that it is in.
    fn spread(&mut self, from: Time, until: Time, of: impl Fn(&mut Bin) -> &mut u64) {
        let mut at = from;
        while at < until {
            let next = until.min((at / self.width + 1) * self.width);
            let place = usize::try_from(at / self.width).unwrap_or(usize::MAX);
            if let Some(bin) = self.bins.get_mut(place) {
                *of(bin) += next - at;
            }
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bins, Class, MOST};
    use crate::trace::record::Turn;
    use portcall::Exit;

    fn turn(entered: u64, left: u64, until: u64) -> Turn {
        Turn { entered, left, until, exit: Exit::Hlt, written: None, rip: None, call: None }
    }

    #[test]
    fn all_time_and_all_exits_stay_however_long_a_run_is() {
        let mut bins = Bins::default();
        let mut at = 500;
        for i in 0..20_000 {
            bins.add(&turn(at, at + 700 + i, at + 1000 + i), Class::ALL[(i % 6) as usize]);
            at += 1000 + i;
        }
        assert!(bins.bins.len() <= MOST && bins.bins.len() > MOST / 2 - 1);
        let sum = |of: fn(&super::Bin) -> u64| bins.bins.iter().map(of).sum::<u64>();
        assert_eq!(sum(super::Bin::total), 20_000);
        assert_eq!(sum(|bin| bin.host), 20_000 * 300);
        assert_eq!(sum(|bin| bin.guest), (0..20_000).map(|i| 700 + i).sum::<u64>());
        assert!(bins.bins.iter().all(|bin| bin.guest + bin.host <= bins.width));
    }
}
