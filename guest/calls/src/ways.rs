//! What both sides of the laboratory's rows have to agree on: where devices are, and typed calls.

/// The port that rows read and write.
pub const PORT: u16 = 0x300;

/// The page of memory-mapped I/O that rows read and write.
pub const WINDOW: u64 = 0xd000_0000;

/// The model-specific register that rows read and write: one that no processor has.
pub const MSR: u32 = 0x4b56_f000;

/// Accesses with values that tell them apart, before the first that is timed: by these the other
/// side sees that all arrive, in order.
pub const CHECKED: u8 = 32;

/// Bytes of a string instruction, and of a buffer.
pub const BYTES: usize = 64;

/// Bytes from a polled request to its answer: each has a cache line of its own.
pub const GAP: usize = 64;

abi::hypercalls! {
    /// Calls of the guest's.
    pub trait Ways {
        /// The sum.
        fn add(&mut self, a: u64, b: u64) -> u64;
        /// The bytes' sum.
        fn take(&mut self, bytes: &[u8]) -> u64;
        /// Fills the bytes with 1, 2, 3 and so on.
        fn give(&mut self, bytes: &mut [u8]);
        /// Doubles the words that wait in a ring; returns how many there were.
        fn doorbell(&mut self, ring: &mut [u8]) -> u64;
        /// From here on a thread of the host's looks at the word at this guest-physical address, and
        /// stores twice that [`GAP`] bytes behind it.
        fn poll(&mut self, address: u64);
    }
}

/// A ring that both sides have: words, little-endian. Word 0 counts those ever put in, word 1 those
/// ever answered; word `i` of the others is answered where it stands.
pub mod ring {
    /// Places in a ring.
    pub const CAPACITY: usize = 512;

    /// Bytes of a ring.
    pub const SIZE: usize = 8 * (2 + CAPACITY);

    /// Doubles what waits; returns how many there were. To the host all of it is a claim: a ring
    /// full is the most that it reads.
    pub fn answer(bytes: &mut [u8]) -> u64 {
        let (words, _) = bytes.as_chunks_mut::<8>();
        let Some(([put, answered], places)) = words.split_first_chunk_mut::<2>() else { return 0 };
        let (first, end) = (u64::from_le_bytes(*answered), u64::from_le_bytes(*put));
        let waiting = end.wrapping_sub(first).min(CAPACITY as u64);
        for i in 0..waiting {
            #[expect(clippy::cast_possible_truncation, reason = "the low bits are what counts")]
            let place = first.wrapping_add(i) as usize % CAPACITY;
            let Some(place) = places.get_mut(place) else { return 0 };
            *place = u64::from_le_bytes(*place).wrapping_mul(2).to_le_bytes();
        }
        *answered = *put;
        waiting
    }
}
