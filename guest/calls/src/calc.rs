//! A calculator in the guest, which the host calls.

abi::record! {
    /// A point of the plane.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub struct Point {
        /// To the right.
        pub x: i64,
        /// Upwards.
        pub y: i64,
    }
}

abi::hypercalls! {
    /// A calculator with a memory.
    pub trait Calc {
        /// The sum, wrapping around.
        fn add(&mut self, a: u64, b: u64) -> u64;
        /// The quotient; `None` where `b` is 0.
        fn divide(&mut self, a: i64, b: i64) -> Option<i64>;
        /// Adds to what is remembered; returns what that is then.
        fn accumulate(&mut self, value: u64) -> u64;
        /// The point turned by a quarter to the left.
        fn turn(&mut self, point: Point) -> Point;
        /// The same text.
        fn echo(&mut self, text: &str) -> &str;
        /// Sorts the bytes where they stand; returns how many there are of the least.
        fn sort(&mut self, bytes: &mut [u8]) -> u64;
    }
}
