//! A scoreboard for a guest that keeps none.

use calls::{{module}};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The players and their points.
#[derive(Default)]
struct Board(BTreeMap<String, u64>);

impl {{module}}::{{interface}} for Board {
    fn score(&mut self, player: &str, points: u64) -> u64 {
        let all = self.0.entry(player.to_owned()).or_default();
        // What comes from a guest may be any number.
        *all = all.saturating_add(points);
        *all
    }
}

fn main() -> ExitCode {
    let board = {{module}}::Server(Board::default());
    cli::Experiment::new().vm(|vm| vm.serve(board)).main()
}
