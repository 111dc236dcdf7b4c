//! A right one; that it is here has the others built, and so shows what only a build finds.

#![deny(warnings)]

abi::hypercalls! {
    /// Nothing is wrong with it.
    pub trait Right {
        /// Twelve words.
        fn call(&mut self, numbers: [u64; 8], text: &str, bytes: &mut [u8]) -> Option<u64>;
    }
}

fn main() {}
