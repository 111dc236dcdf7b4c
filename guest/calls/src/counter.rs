//! A counter with its state on the host.

abi::hypercalls! {
    /// A counter on the host.
    pub trait Counter {
        /// Adds to it; returns what it is then.
        fn add(&mut self, amount: u64) -> u64;
    }
}
