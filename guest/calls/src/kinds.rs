//! A call of every kind of value: what the others are made of, for the tests of both sides.

use abi::calls::Refusal;

abi::record! {
    /// A record with a record and an array in it.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub struct Shape {
        /// Whether it is filled.
        pub filled: bool,
        /// Where it is.
        pub place: Spot,
        /// Its colour.
        pub colour: [u8; 3],
    }
}

abi::record! {
    /// A place on a small plane.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub struct Spot {
        /// To the right.
        pub x: i8,
        /// Upwards.
        pub y: i16,
    }
}

abi::hypercalls! {
    /// Every kind of value, and every number of words. Each call gives back what it is given.
    pub trait Kinds {
        /// No words either way.
        fn nothing(&mut self);
        /// A word, and none back.
        fn only_there(&mut self, value: u64);
        /// None, and a word back.
        fn only_back(&mut self) -> u64;
        /// The largest and the least.
        fn signed(&mut self, a: i8, b: i64) -> [i64; 2];
        /// As above.
        fn unsigned(&mut self, a: u8, b: u64) -> [u64; 2];
        /// Three words.
        fn three(&mut self, words: [u64; 3]) -> [u64; 3];
        /// Four.
        fn four(&mut self, words: [u64; 4]) -> [u64; 4];
        /// Five, and only one back.
        fn five(&mut self, words: [u64; 5]) -> u64;
        /// Six there.
        fn six(&mut self, words: [u64; 6]) -> [u64; 2];
        /// Seven back.
        fn seven(&mut self, first: u64) -> [u64; 7];
        /// Eight.
        fn eight(&mut self, words: [u64; 8]) -> [u64; 8];
        /// Nine there, and a bool back.
        fn nine(&mut self, words: [u64; 9]) -> bool;
        /// Ten.
        fn ten(&mut self, words: [u64; 10]) -> [u64; 10];
        /// Eleven.
        fn eleven(&mut self, words: [u64; 11]) -> [u64; 11];
        /// Twelve, as many as there are.
        fn twelve(&mut self, words: [u64; 12]) -> [u64; 12];
        /// A record.
        fn shape(&mut self, shape: Shape) -> Shape;
        /// One in the other.
        fn nested(&mut self, value: Option<Result<Spot, Option<bool>>>)
            -> Option<Result<Spot, Option<bool>>>;
        /// Text.
        fn text(&mut self, text: &str) -> &str;
        /// Bytes.
        fn bytes(&mut self, bytes: &[u8]) -> &[u8];
        /// Turns both round.
        fn reverse(&mut self, first: &mut [u8], second: &mut [u8]);
        /// Text, or bytes, or nothing.
        fn either(&mut self, value: Option<Result<&str, &[u8]>>) -> Option<Result<&str, &[u8]>>;
        /// An error for what is refused.
        fn refusable(&mut self, text: &str) -> Result<&str, Refusal>;
    }
}
