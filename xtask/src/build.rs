//! `cargo xtask build`: builds guest programs and prints where their images are.

use crate::Failure;
use crate::programs::{self, Profile};
use std::io::{self, Write};
use std::process::ExitCode;

/// The command line of `build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The guest program; all of them if none is given
    name: Option<String>,
    /// How the guests are built
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

/// Builds, then prints one path a line on stdout.
pub(crate) fn build(args: &Args) -> Result<ExitCode, Failure> {
    let programs = match &args.name {
        Some(name) => vec![programs::find(name)?],
        None => programs::all()?,
    };
    programs::build(&programs, args.profile)?;
    let mut out = io::stdout().lock();
    for program in &programs {
        match writeln!(out, "{}", program.image(args.profile).display()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::from(141));
            }
            result => {
                result.map_err(|error| Failure(format!("cannot write to stdout: {error}")))?
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
