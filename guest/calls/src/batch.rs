//! Many small calls by one doorbell: they wait in a ring in the guest's memory, and the host
//! answers all of them at one exit.

abi::hypercalls! {
    /// Squares numbers, one by one or many at once.
    pub trait Batch {
        /// The square, by an exit of its own.
        fn square(&mut self, value: u64) -> u64;

        /// Answers what waits in the [`Ring`] that these bytes are; returns how many there were.
        fn doorbell(&mut self, ring: &mut [u8]) -> u64;
    }
}

/// How many numbers wait in a ring at most.
pub const CAPACITY: usize = 64;

const WORDS: usize = 2 + CAPACITY;

/// Bytes of a ring; zeros are an empty one.
pub const SIZE: usize = 8 * WORDS;

/// Numbers on their way to the other side and back: words, little-endian. Word 0 counts the
/// numbers ever put in, word 1 those ever answered; number `i` stands in word `2 + i % CAPACITY`,
/// and so does its answer. Both counts run freely.
///
/// To the host all of it is a claim: whatever the counts say, a ring full is the most it reads.
#[derive(Debug)]
pub struct Ring<'b> {
    words: &'b mut [[u8; 8]; WORDS],
    /// Kept here, and stored once all is in, rather than at every number.
    written: u64,
    answered: u64,
}

impl<'b> Ring<'b> {
    /// The ring that these bytes are, if they are as many.
    pub fn of(bytes: &'b mut [u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks_mut::<8>() else { return None };
        let words: &mut [[u8; 8]; WORDS] = words.try_into().ok()?;
        let (written, answered) = (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]));
        Some(Self { words, written, answered })
    }

    /// The word of number `i`.
    const fn slot(&mut self, i: u64) -> &mut [u8; 8] {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what counts")]
        &mut self.words[2 + i as usize % CAPACITY]
    }

    const fn waiting(&self) -> u64 {
        self.written.wrapping_sub(self.answered)
    }

    /// Puts a number in; `false` where the ring is full.
    pub const fn put(&mut self, value: u64) -> bool {
        if self.waiting() >= CAPACITY as u64 {
            return false;
        }
        *self.slot(self.written) = value.to_le_bytes();
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Replaces what waits by its answers; returns how many there were.
    pub fn answer(&mut self, answer: impl Fn(u64) -> u64) -> u64 {
        let waiting = self.waiting().min(CAPACITY as u64);
        for i in 0..waiting {
            let slot = self.slot(self.answered.wrapping_add(i));
            *slot = answer(u64::from_le_bytes(*slot)).to_le_bytes();
        }
        self.answered = self.written;
        waiting
    }

    /// The answers of the last `count` numbers; at most a ring full.
    pub fn answers(&mut self, count: u64) -> impl Iterator<Item = u64> {
        let count = count.min(CAPACITY as u64);
        let first = self.answered.wrapping_sub(count);
        (0..count).map(move |i| u64::from_le_bytes(*self.slot(first.wrapping_add(i))))
    }
}

/// What was put in, or answered, is there for the other side.
impl Drop for Ring<'_> {
    fn drop(&mut self) {
        self.words[0] = self.written.to_le_bytes();
        self.words[1] = self.answered.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{CAPACITY, Ring, SIZE};
    use std::vec::Vec;

    const FULL: u64 = CAPACITY as u64;

    #[test]
    fn a_ring_takes_what_it_holds_and_gives_it_back_answered() {
        let mut bytes = [0; SIZE];
        for round in 0..3 {
            let mut ring = Ring::of(&mut bytes).expect("a ring");
            for i in 0..FULL {
                assert!(ring.put(round * 1000 + i));
            }
            assert!(!ring.put(0));
            drop(ring);
            let mut ring = Ring::of(&mut bytes).expect("a ring");
            assert_eq!(ring.answer(|value| value + 1), FULL);
            assert_eq!(ring.answer(|value| value + 1), 0);
            drop(ring);
            let mut ring = Ring::of(&mut bytes).expect("a ring");
            let answers: Vec<u64> = ring.answers(FULL).collect();
            assert_eq!(answers, Vec::from_iter((1..=FULL).map(|i| round * 1000 + i)));
        }
    }

    #[test]
    fn a_ring_that_lies_costs_no_more_than_a_full_one() {
        let mut bytes = [0xff; SIZE];
        bytes[8..16].fill(0);
        let mut ring = Ring::of(&mut bytes).expect("a ring");
        assert!(!ring.put(1));
        assert_eq!(ring.answer(|value| value), FULL);
        assert_eq!(ring.answers(u64::MAX).count() as u64, FULL);
    }

    #[test]
    fn other_sizes_are_no_ring() {
        for size in [0, 7, 8, 16, SIZE - 1, SIZE + 1, SIZE + 8] {
            assert!(Ring::of(&mut std::vec![0; size]).is_none(), "{size}");
        }
    }
}
