//! A counter with its state on the host.

use calls::counter;
use std::process::ExitCode;

/// What it has come to so far.
#[derive(Default)]
struct Count(u64);

impl counter::Counter for Count {
    fn add(&mut self, amount: u64) -> u64 {
        self.0 = self.0.wrapping_add(amount);
        self.0
    }
}

fn main() -> ExitCode {
    cli::Experiment::new().vm(|vm| vm.serve(counter::Server(Count::default()))).main()
}
