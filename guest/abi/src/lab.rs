//! The stock interface by which a guest says what it measured. The
//! [contract](crate#the-stock-interface) has a section for each call.

crate::hypercalls! {
    /// Takes what a guest measured by its time stamp counter.
    pub trait Lab {
        /// A measurement begins: its name, the operations that one sample times, how many samples
        /// there will be, and how many more were taken before them and are left out.
        fn begin(&mut self, name: &str, operations: u32, samples: u32, warm_up: u32);

        /// What the timer takes by itself: samples of nothing, each the ticks between two readings
        /// of the time stamp counter, a little-endian `u64`. Those right before and right behind a
        /// block of samples are its own.
        fn timer(&mut self, ticks: &[u8]);

        /// Samples of the operations, in the same form.
        fn samples(&mut self, ticks: &[u8]);

        /// The measurement has all of its samples.
        fn end(&mut self);

        /// There is nothing to measure under that name, and this is why.
        fn absent(&mut self, name: &str, why: &str);
    }
}
