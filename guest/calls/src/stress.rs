//! Work in the guest, which many threads of the host's call for.

abi::hypercalls! {
    /// Work to be measured.
    pub trait Stress {
        /// Writes to so many pages; returns which call of its VM's this is, from 1.
        fn work(&mut self, pages: u64) -> u64;
    }
}
