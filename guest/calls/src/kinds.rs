//! A call of every kind of value: what the others are made of, for the tests of both sides.

use abi::calls::Refusal;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

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

/// Gives back what it is given, on either side.
#[derive(Debug, Default)]
pub struct Echo {
    calls: u64,
    text: String,
    bytes: Vec<u8>,
}

impl Kinds for Echo {
    fn nothing(&mut self) {
        self.calls = self.calls.wrapping_add(1);
    }

    fn only_there(&mut self, value: u64) {
        self.calls = self.calls.wrapping_add(value);
    }

    fn only_back(&mut self) -> u64 {
        self.calls
    }

    fn signed(&mut self, a: i8, b: i64) -> [i64; 2] {
        [a.into(), b]
    }

    fn unsigned(&mut self, a: u8, b: u64) -> [u64; 2] {
        [a.into(), b]
    }

    fn three(&mut self, words: [u64; 3]) -> [u64; 3] {
        words
    }

    fn four(&mut self, words: [u64; 4]) -> [u64; 4] {
        words
    }

    fn five(&mut self, words: [u64; 5]) -> u64 {
        words.into_iter().fold(0, u64::wrapping_add)
    }

    fn six(&mut self, words: [u64; 6]) -> [u64; 2] {
        [words[0], words[5]]
    }

    fn seven(&mut self, first: u64) -> [u64; 7] {
        core::array::from_fn(|i| first.wrapping_add(i as u64))
    }

    fn eight(&mut self, words: [u64; 8]) -> [u64; 8] {
        words
    }

    fn nine(&mut self, words: [u64; 9]) -> bool {
        words.is_sorted()
    }

    fn ten(&mut self, words: [u64; 10]) -> [u64; 10] {
        words
    }

    fn eleven(&mut self, words: [u64; 11]) -> [u64; 11] {
        words
    }

    fn twelve(&mut self, words: [u64; 12]) -> [u64; 12] {
        words
    }

    fn shape(&mut self, shape: Shape) -> Shape {
        shape
    }

    fn nested(
        &mut self,
        value: Option<Result<Spot, Option<bool>>>,
    ) -> Option<Result<Spot, Option<bool>>> {
        value
    }

    fn text(&mut self, text: &str) -> &str {
        text.clone_into(&mut self.text);
        &self.text
    }

    fn bytes(&mut self, bytes: &[u8]) -> &[u8] {
        bytes.clone_into(&mut self.bytes);
        &self.bytes
    }

    fn reverse(&mut self, first: &mut [u8], second: &mut [u8]) {
        first.reverse();
        second.reverse();
    }

    fn either(&mut self, value: Option<Result<&str, &[u8]>>) -> Option<Result<&str, &[u8]>> {
        match value? {
            Ok(text) => Some(Ok(self.text(text))),
            Err(bytes) => Some(Err(self.bytes(bytes))),
        }
    }

    fn refusable(&mut self, text: &str) -> Result<&str, Refusal> {
        Ok(self.text(text))
    }
}

/// Words that are all different, and large, and not sorted.
#[must_use]
pub fn words<const N: usize>() -> [u64; N] {
    core::array::from_fn(|i| u64::MAX / (i as u64 + 1))
}

/// Makes every call of a client, and checks what comes back: `ask!(client)` in a guest,
/// `ask!(client ?)` on a host, whose calls may fail.
#[macro_export]
macro_rules! ask {
    ($client:ident $($try:tt)?) => {
        $client.nothing() $($try)?;
        $client.only_there(41) $($try)?;
        assert_eq!($client.only_back() $($try)?, 42);
        assert_eq!($client.signed(i8::MIN, i64::MIN) $($try)?, [-128, i64::MIN]);
        assert_eq!($client.signed(i8::MAX, -1) $($try)?, [127, -1]);
        assert_eq!($client.unsigned(u8::MAX, u64::MAX) $($try)?, [255, u64::MAX]);
        assert_eq!($client.three($crate::kinds::words()) $($try)?, $crate::kinds::words());
        assert_eq!($client.four($crate::kinds::words()) $($try)?, $crate::kinds::words());
        assert_eq!($client.five([1, 2, 3, 4, 5]) $($try)?, 15);
        assert_eq!($client.six([1, 2, 3, 4, 5, 6]) $($try)?, [1, 6]);
        assert_eq!($client.seven(10) $($try)?, [10, 11, 12, 13, 14, 15, 16]);
        assert_eq!($client.eight($crate::kinds::words()) $($try)?, $crate::kinds::words());
        assert!(!$client.nine($crate::kinds::words()) $($try)?);
        assert_eq!($client.ten($crate::kinds::words()) $($try)?, $crate::kinds::words());
        assert_eq!($client.eleven($crate::kinds::words()) $($try)?, $crate::kinds::words());
        assert_eq!($client.twelve($crate::kinds::words()) $($try)?, $crate::kinds::words());
        let place = $crate::kinds::Spot { x: -1, y: 300 };
        let shape = $crate::kinds::Shape { filled: true, place, colour: [1, 2, 255] };
        assert_eq!($client.shape(shape) $($try)?, shape);
        for value in [None, Some(Ok(place)), Some(Err(None)), Some(Err(Some(true)))] {
            assert_eq!($client.nested(value) $($try)?, value);
        }
        for text in ["", "a", "g\u{fc}nstig", "a longer one, of more than 33 bytes"] {
            assert_eq!($client.text(text) $($try)?, text);
            assert_eq!($client.bytes(text.as_bytes()) $($try)?, text.as_bytes());
            assert_eq!($client.refusable(text) $($try)?, Ok(text));
            for value in [None, Some(Ok(text)), Some(Err(text.as_bytes()))] {
                assert_eq!($client.either(value) $($try)?, value);
            }
        }
        let (mut first, mut second) = (*b"abc", *b"1234567");
        $client.reverse(&mut first, &mut second) $($try)?;
        assert_eq!((&first, &second), (b"cba", b"7654321"));
    };
}
