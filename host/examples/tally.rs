//! Adds up what a guest counts.

use calls::tally::{self, Counts};
use encoded::Encoded;
use std::process::ExitCode;

#[derive(Default)]
struct All(Counts);

impl tally::Tally for All {
    fn add(&mut self, counts: Encoded<Counts>) -> Encoded<Counts> {
        for (word, count) in counts.into_inner() {
            let all = self.0.entry(word).or_default();
            *all = all.saturating_add(count);
        }
        self.0.clone().into()
    }
}

fn main() -> ExitCode {
    cli::Experiment::new().vm(|vm| vm.serve(tally::Server(All::default()))).main()
}
