//! Squares numbers, one by one or many at once.

use calls::batch::{self, Ring};
use std::process::ExitCode;

struct Squares;

const fn square(value: u64) -> u64 {
    value.wrapping_mul(value)
}

impl batch::Batch for Squares {
    fn square(&mut self, value: u64) -> u64 {
        square(value)
    }

    fn doorbell(&mut self, ring: &mut [u8]) -> u64 {
        Ring::of(ring).map_or(0, |mut ring| ring.answer(square))
    }
}

fn main() -> ExitCode {
    cli::Experiment::new().vm(|vm| vm.serve(batch::Server(Squares))).main()
}
