//! The stock interface: what a guest may ask any host that allows it. The
//! [contract](crate#the-stock-interface) has a section for each call.

use crate::calls::{Fixed, Kind, Malformed, Reader, Writer};

/// How much something that is logged matters: a word, 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is not as it should be.
    Warn = 2,
    /// Something worth knowing.
    Info = 3,
    /// For whoever looks for a mistake.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

impl Level {
    /// All of them, the most important first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Fixed for Level {
    const KIND: Kind = Kind::Unsigned(8);

    #[inline(always)]
    fn store(self, to: &mut Writer<'_>) {
        to.put(self as u64);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let word = from.take();
        let level = Self::ALL.into_iter().find(|level| *level as u64 == word);
        level.ok_or(Malformed::value(word))
    }
}

/// The most bytes of the seed of [`Host::ready`].
pub const SEED_MAX: u64 = 4096;

crate::hypercalls! {
    /// What a guest may ask any host that allows it.
    pub trait Host {
        /// How many arguments it was given.
        fn argument_count(&mut self) -> u32;

        /// An argument by its place, from 0.
        fn argument(&mut self, place: u32) -> Option<&str>;

        /// How many exits it has made so far, this one included.
        fn exits(&mut self) -> u64;

        /// The same for one kind: 0 for IN, 1 for OUT, and on as in the contract. `None` where
        /// there is no such kind.
        fn exits_of_kind(&mut self, kind: u32) -> Option<u64>;

        /// Where a guest-virtual address leads, by the page tables as they are: the guest-physical
        /// address. `None` where nothing is mapped.
        fn translate(&mut self, gva: u64) -> Option<u64>;

        /// Nanoseconds since the VM was made; never less than before.
        fn clock(&mut self) -> u64;

        /// Fills `into` with bytes that no one can foresee.
        fn random(&mut self, into: &mut [u8]);

        /// Logs a line.
        fn log(&mut self, level: Level, text: &str);

        /// Leaves a key and a value in the run's outcome. `false` where there are too many.
        fn annotate(&mut self, key: &str, value: &str) -> bool;

        /// Says that the guest is set up, and fills `seed` with bytes that no one can foresee: with
        /// others in every VM that is made of a snapshot of this moment and reseeded.
        fn ready(&mut self, seed: &mut [u8]);
    }
}
