//! A call of the host's, for the laboratory.

abi::hypercalls! {
    /// What the host calls.
    pub trait Back {
        /// The sum.
        fn add(&mut self, a: u64, b: u64) -> u64;
    }
}
