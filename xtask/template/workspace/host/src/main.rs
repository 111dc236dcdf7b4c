//! Runs the guest, which is built into it, and answers its calls.

use calls::{{module}};
use inspect::{KvmKind, Style};
use portcall::{End, Image, Kvm, Limit, Vm};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// The guest's image; empty if it was not built before this program. See build.rs.
static GUEST: &[u8] = include_bytes!(env!("GUEST_IMAGE"));

/// A guest that runs longer is stopped.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What this ends with if the guest did not end of its own will.
const ABNORMAL: u8 = 101;

/// What this ends with if the guest was not run.
const NOT_RUN: u8 = 125;

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
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(NOT_RUN)
        }
    }
}

/// Runs the guest to its end; gives the process code.
fn run() -> Result<u8, Box<dyn Error>> {
    if GUEST.is_empty() {
        return Err("the guest is not built; to build and run both: cargo xtask run".into());
    }
    let kvm = Kvm::open()?;
    let image = Image::parse(GUEST)?;
    let mut vm = Vm::builder(&kvm, &image)
        .serve({{module}}::Server(Board::default()))
        .console(stdout())
        .limit(Limit::Time(TIME_MAX))
        .build()?;
    let outcome = vm.run()?;
    match outcome.end {
        End::Exited(code) => Ok(u8::try_from(code).unwrap_or(ABNORMAL)),
        End::Halted => Ok(0),
        _ => {
            let why = inspect::explain(&vm, &image, &outcome, GUEST, KvmKind::detect())?;
            eprint!("{}", why.render(Style { colour: stderr().is_terminal() }));
            Ok(ABNORMAL)
        }
    }
}
