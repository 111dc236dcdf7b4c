//! A key-value store on the host.

abi::hypercalls! {
    /// A key-value store on the host.
    pub trait Store {
        /// Stores `value`; returns the number of keys.
        fn put(&mut self, key: &str, value: &[u8]) -> u64;
        /// The value of `key`, if it has one.
        fn get(&mut self, key: &str) -> Option<&[u8]>;
        /// Copies as much of the value as fits into `into`; returns all its bytes.
        fn read(&mut self, key: &str, into: &mut [u8]) -> Option<u64>;
        /// Forgets `key`; returns whether it was there.
        fn remove(&mut self, key: &str) -> bool;
    }
}
