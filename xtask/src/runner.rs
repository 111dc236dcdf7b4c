//! `cargo xtask runner`: what cargo and cargo-nextest start guests' test programs by
//! (`.cargo/runner`), but where that finds it built. Builds `portcall`, and becomes `portcall test`.

use crate::Failure;
use crate::cargo::{build_host_for, cannot_start};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The command line of `runner`.
#[derive(clap::Args)]
#[command(override_usage = "cargo xtask runner IMAGE [OPTIONS]")]
pub(crate) struct Args {
    /// The image, and options for `portcall test`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<OsString>,
}

/// Runs tests; comes back only if that failed.
pub(crate) fn runner(args: &Args) -> Result<ExitCode, Failure> {
    let mut command = Command::new(build_host_for(None, &args.words)?);
    let error = command.arg("test").args(&args.words).exec();
    Err(cannot_start(&command, &error))
}
