//! Counts of words, kept on the host: maps cross, encoded.

use alloc::collections::BTreeMap;
use alloc::string::String;
use encoded::Encoded;

/// How often each word was seen.
pub type Counts = BTreeMap<String, u32>;

abi::hypercalls! {
    /// Adds up what guests have counted.
    pub trait Tally {
        /// Adds these counts; returns all of them.
        fn add(&mut self, counts: Encoded<Counts>) -> Encoded<Counts>;
    }
}
