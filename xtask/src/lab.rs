//! `cargo xtask lab`: builds the laboratory with the guest of its rows, and becomes `portcall lab`.

use crate::cargo::{build_lab, build_lab_guest, cannot_start};
use crate::programs::{self, Profile};
use crate::{Failure, halves};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The command line of `lab`.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "cargo xtask lab [NAME] [OPTIONS] [-- ARGS]",
    after_help = "\
NAME is a guest program that measures by `guest::measure`, as for `cargo xtask run`; with the host half \
of its name, if there is one. Without it only the built-in rows are measured."
)]
pub(crate) struct Args {
    /// A guest program, and options for `portcall lab`; --help lists them, --quick takes 10 seconds
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "NAME|OPTION")]
    words: Vec<OsString>,
}

/// Builds all that it takes, and goes on as `portcall lab`.
pub(crate) fn lab(args: &Args, guest_args: &[OsString]) -> Result<ExitCode, Failure> {
    let mut command = command(&args.words)?;
    if !guest_args.is_empty() {
        command.arg("--").args(guest_args);
    }
    // In our place, so that signals, terminal and exit code are the real ones.
    let error = command.exec();
    Err(cannot_start(&command, &error))
}

/// Whether it is that option.
fn says(word: &OsString, option: &str) -> bool {
    word.to_string_lossy().split('=').next() == Some(option)
}

/// `portcall lab` with these words, built.
pub(crate) fn command(words: &[OsString]) -> Result<Command, Failure> {
    let named = words.first().filter(|it| !it.as_encoded_bytes().starts_with(b"-"));
    let (mut own, mut half): (Vec<OsString>, _) = (Vec::new(), None);
    if let Some(name) = named {
        let program = programs::find(&name.to_string_lossy())?;
        let header = program.directives()?;
        half = halves::of(&program.name, header.host.as_deref())?;
        own.push(program.image(Profile::Release).into());
        // What its header asks for, unless the user says otherwise.
        for (option, asked) in [("--memory", header.memory), ("--ring", header.ring)] {
            let asked = asked.filter(|_| !words.iter().any(|it| says(it, option)));
            own.extend(asked.map(|asked| format!("{option}={asked}").into()));
        }
        programs::build(&[program], Profile::Release)?;
    }
    let options = words.get(usize::from(named.is_some())..).unwrap_or_default();
    let guest: PathBuf = build_lab_guest()?;
    let mut command = Command::new(build_lab(half.as_deref(), &guest)?);
    command.arg("lab").args(own).args(options);
    Ok(command)
}
