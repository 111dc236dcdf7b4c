//! The command line of `portcall`, for experiments to put their handlers into.
//!
//! An experiment's host half is the stock binary and what it adds: the same command line, the
//! same reports, the same process codes.
//!
//! ```no_run
//! use portcall::{End, Guest, Ports};
//!
//! /// Answers IN with a number that no one foresees.
//! struct Dice;
//!
//! impl Ports for Dice {
//!     fn read(&mut self, _: &mut Guest<'_>, _port: u16, _width: u8) -> Result<u32, End> {
//!         Ok(4)
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     cli::Experiment::new().vm(|builder| builder.ports(0x300..=0x300, Dice)).main()
//! }
//! ```
//!
//! The guest's text goes to stdout as bytes, everything of ours to stderr.

/// Writes a line to stderr, coloured on a terminal. Where stderr is gone, so is the line.
macro_rules! say {
    ($($text:tt)*) => {{
        // In one piece, so that the guest's text never comes in between.
        $crate::output::say(&(format!($($text)*) + "\n"));
    }};
}

mod allow;
mod code;
mod count;
#[cfg(feature = "instruments")]
mod coverage;
mod deferred;
mod doctor;
mod emit;
mod expect;
mod experiment;
#[cfg(feature = "fuzz")]
mod fuzz;
#[cfg(feature = "instruments")]
mod gdb;
#[cfg(not(feature = "instruments"))]
#[path = "no_gdb.rs"]
mod gdb;
mod heard;
mod image_file;
mod jail;
#[cfg(feature = "lab")]
mod lab;
mod limit;
mod measured;
mod options;
mod output;
mod places;
mod plain;
mod prepare;
mod replay;
mod report;
mod run;
mod session;
mod signals;
mod sink;
mod steps;
mod test;

#[cfg(test)]
#[path = "../../tests/common/elf.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod elf;

pub use ::jail::Jail;
pub use experiment::Experiment;
pub use prepare::prepare;

use clap::Parser;
use code::Failure;
use inspect::printable;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

/// Runs bare-metal KVM guests and says what happened.
#[derive(Debug, Parser)]
#[command(version, after_help = code::HELP)]
enum Stock {
    /// Runs a guest: a static x86-64 ELF file.
    Run(run::Options),
    /// Runs the tests that are in a guest, each in a VM of its own.
    Test(test::Options),
    /// Runs a function of a guest's over and over, with inputs that it finds on the way.
    #[cfg(feature = "fuzz")]
    Fuzz(fuzz::Options),
    /// Runs a recorded guest again, with no handlers, and reports the first difference.
    Replay(replay::Options),
    /// Measures what each way out of a guest costs on this machine.
    #[cfg(feature = "lab")]
    Lab(lab::Options),
    /// Rounds of a row, for `lab`.
    #[cfg(feature = "lab")]
    #[command(hide = true)]
    LabRound(lab::Order),
    /// Puts together what several runs have reached of their sources.
    #[cfg(feature = "instruments")]
    Coverage(coverage::Options),
    /// Says whether guests can run on this machine, and what to do if not.
    Doctor,
}

/// The stock binary: `portcall run` and `portcall replay`, without handlers, and
/// `portcall doctor`. The process code, for a `main` to exit with.
#[must_use]
pub fn main() -> u8 {
    start(std::env::args_os(), Stock::Run, |command| match command {
        Stock::Run(options) => run::run(&options, Experiment::new().jail(Jail::new())),
        Stock::Test(options) => test::test(&options, Jail::new()),
        #[cfg(feature = "fuzz")]
        Stock::Fuzz(options) => fuzz::fuzz(&options, Jail::new()),
        Stock::Replay(options) => replay::replay(&options),
        #[cfg(feature = "lab")]
        Stock::Lab(options) => lab::lab(&options),
        #[cfg(feature = "lab")]
        Stock::LabRound(order) => lab::round(&order, Experiment::new().jail(Jail::new())),
        #[cfg(feature = "instruments")]
        Stock::Coverage(options) => coverage::coverage(&options),
        Stock::Doctor => doctor::doctor(),
    })
}

/// Reads the command line, does what it says, and makes a process code of what came of it.
/// `of_run` is the command that `run` is.
fn start<C: Parser>(
    words: impl IntoIterator<Item = OsString>,
    of_run: fn(run::Options) -> C,
    run: impl FnOnce(C) -> Result<u8, Failure>,
) -> u8 {
    std::panic::set_hook(Box::new(say_panic));
    signals::outlive_file_limits();
    let command = match plain::parse(words, of_run) {
        Ok(command) => command,
        Err(error) => {
            // Help and version were asked for; anything else is a wrong command line.
            let _ = error.print();
            return if error.use_stderr() { code::OURS } else { 0 };
        }
    };
    // A panic of ours has been said by the hook; std's code for it, 101, is the guests' here.
    let code = catch_unwind(AssertUnwindSafe(|| run(command))).unwrap_or(Ok(code::OURS));
    code.unwrap_or_else(|failure| failure.say())
}

/// Says that something panicked, and where: a handler, whose end the report then is, or we. The
/// message may have words of the guest's, which std's own hook would pass on as they are.
fn say_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let style = anstyle::AnsiColor::Red.on_default().bold();
    say!("{style}portcall{style:#}: panicked{}: {}", printable(&place), printable(message));
}

#[cfg(test)]
mod tests {
    use super::{Stock, start};
    use crate::code;
    use std::ffi::OsString;

    #[test]
    fn a_panic_of_ours_is_not_taken_for_the_guests() {
        let words = ["portcall", "doctor"].map(OsString::from);
        assert_eq!(start(words, Stock::Run, |_| panic!("on purpose")), code::OURS);
    }
}
