//! A scoreboard on the host.

abi::hypercalls! {
    /// A scoreboard on the host.
    pub trait {{interface}} {
        /// Adds to a player's points; returns how many there are then.
        fn score(&mut self, player: &str, points: u64) -> u64;
    }
}
