//! `cargo xtask`: builds, runs, tests and checks Portcall. One file a subcommand; what they
//! share stands below them.

mod run;
mod replay;
mod runner;
mod build;
mod new;
mod test;
mod check;
mod bench;
mod browser;
mod lab;
mod lab_ends;
mod lab_rows;
mod fuzz;
mod snapfuzz;
mod gdb;
mod mdbook;
mod doctor;

mod programs;
mod halves;
mod instruments;
mod name;
mod template;
mod directives;
mod documents;
mod book;
mod transcript;
mod compile;
mod single;
mod exercise;
mod score;
mod engine;
mod guest_tests;
mod again;
mod coverage;
mod soak;
mod process;
mod diff;
mod kvm_amd;
mod machine;
mod packages;
mod cpio;
mod links;

mod cargo;
mod target;
mod failure;

/// A line on stdout. Where stdout is gone or full, the exit code still says what there is to say.
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stdout(), $($text)*);
    }};
}

/// A line on stderr, in the same way.
#[macro_export]
macro_rules! err {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stderr(), $($text)*);
    }};
}

use anstyle::{AnsiColor, Style};
use clap::{Parser, Subcommand};
use failure::Failure;
use std::ffi::OsString;
use std::process::ExitCode;

/// Build, run, test and check Portcall's guests and their host.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
#[command(after_help = "`cargo xtask run` builds and runs the guest `hello`: start there.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
enum Command {
    /// Build a guest program and run it
    Run(run::Args),
    /// Run a recorded guest again (`cargo xtask run NAME --emit log=FILE` records one)
    Replay(replay::Args),
    /// Run the tests in a guest: what cargo's configuration starts them by
    Runner(runner::Args),
    /// Build guest programs and print where their images are
    Build(build::Args),
    /// Make a guest, its interface and its host half; with --at in a workspace of its own
    New(new::Args),
    /// Run the host's tests, the guest programs and the guests in the documentation
    Test(test::Args),
    /// Check formatting, lints, documentation and links
    Check,
    /// Measure this project beside the same work in bare ioctls
    Bench(bench::Args),
    /// Measure what each way out of a guest costs on this machine
    Lab(lab::Args),
    /// Give the fuzz targets, or a guest, inputs without end, and say which one fails
    Fuzz(fuzz::Args),
    /// Build the book's pages, target/book/index.html (installs mdbook below target/ first)
    Book,
    /// Say whether this machine can build and run guests, and what to do if not
    Doctor,
}

/// How failures are shown.
const BAD: Style = AnsiColor::Red.on_default().bold();

/// How success is shown.
const GOOD: Style = AnsiColor::Green.on_default();

/// How what was left out is shown.
const LEFT_OUT: Style = AnsiColor::Yellow.on_default();

/// What `run` ends with when it is not the guest that failed; as `portcall` does.
const OURS: u8 = 125;

fn main() -> ExitCode {
    let (words, guest_args) = split(std::env::args_os().collect());
    let cli = Cli::parse_from(words);
    let ours = if matches!(cli.command, Command::Run(_) | Command::Replay(_) | Command::Lab(_)) {
        OURS
    } else {
        1
    };
    let result = match cli.command {
        Command::Run(args) => run::run(&args, &guest_args),
        Command::Replay(args) => replay::replay(&args),
        Command::Runner(args) => runner::runner(&args),
        Command::Build(args) => build::build(&args),
        Command::New(args) => new::new(&args),
        Command::Test(args) => test::test(&args),
        Command::Check => check::check(),
        Command::Bench(args) => bench::bench(&args),
        Command::Lab(args) => lab::lab(&args, &guest_args),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Book => mdbook::book(),
        Command::Doctor => doctor::doctor(),
    };
    result.unwrap_or_else(|Failure(message)| {
        crate::err!("{BAD}error{BAD:#}: {message}");
        ExitCode::from(ours)
    })
}

/// Takes what follows `--` off a `run` or `lab`: clap would drop a leading `--`, and with it the border
/// between `portcall`'s options and the guest's arguments.
fn split(mut words: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    if words.get(1).is_none_or(|word| word != "run" && word != "lab") {
        return (words, Vec::new());
    }
    let Some(border) = words.iter().position(|word| word == "--") else {
        return (words, Vec::new());
    };
    let guest_args = words.split_off(border + 1);
    words.truncate(border);
    (words, guest_args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_run_and_lab_are_split_at_its_first_border() {
        assert_eq!(
            split(words("xtask run a --steps -- b -- c")),
            (words("xtask run a --steps"), words("b -- c"))
        );
        assert_eq!(split(words("xtask lab -- b")), (words("xtask lab"), words("b")));
        assert_eq!(split(words("xtask run -- b")), (words("xtask run"), words("b")));
        assert_eq!(split(words("xtask test -- b")), (words("xtask test -- b"), words("")));
    }
}
