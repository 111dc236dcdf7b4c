//! `cargo xtask replay`: builds `portcall`, and becomes `portcall replay`.

use crate::Failure;
use crate::cargo::{build_host_for, cannot_start};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The command line of `replay`.
#[derive(clap::Args)]
#[command(
    override_usage = "cargo xtask replay LOG [OPTIONS]",
    after_help = "\
LOG is what `cargo xtask run NAME --emit log=FILE` wrote; the guest is in it, and no host half is
needed. OPTIONS are those of `portcall replay`, such as --backtrace or --expect rax=42."
)]
pub(crate) struct Args {
    /// The log, and options for `portcall replay`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<OsString>,
}

/// Replays a guest; comes back only if that failed.
pub(crate) fn replay(args: &Args) -> Result<ExitCode, Failure> {
    let mut command = Command::new(build_host_for(None, &args.words)?);
    let error = command.arg("replay").args(&args.words).exec();
    Err(cannot_start(&command, &error))
}
