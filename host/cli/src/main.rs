//! `portcall`: runs bare-metal KVM guests and says what happened.
//!
//! The guest's text goes to stdout as bytes, everything of ours to stderr.

mod code;
mod count;
mod doctor;
mod emit;
mod expect;
mod image_file;
mod output;
mod report;
mod run;
mod steps;

use clap::Parser;
use std::process::ExitCode;

/// Writes a line to stderr, coloured on a terminal. Where stderr is gone, so is the line.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {{
        // In one piece, so that the guest's text never comes in between.
        $crate::output::say(&(format!($($text)*) + "\n"));
    }};
}

/// Runs bare-metal KVM guests and says what happened.
#[derive(Debug, Parser)]
#[command(version, after_help = code::HELP)]
enum Command {
    /// Runs a guest: a static x86-64 ELF file.
    Run(run::Options),
    /// Says whether guests can run on this machine, and what to do if not.
    Doctor,
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => {
            // Help and version were asked for; anything else is a wrong command line.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { code::OURS } else { 0 });
        }
    };
    let result = match command {
        Command::Run(options) => run::run(&options),
        Command::Doctor => doctor::doctor(),
    };
    ExitCode::from(result.unwrap_or_else(|failure| failure.say()))
}
