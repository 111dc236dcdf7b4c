//! `cargo xtask run`: builds a guest and `portcall` or the guest's host half, and becomes
//! `portcall run`.

use crate::cargo::{build_host_for, cannot_start};
use crate::compile::{Compiled, compile};
use crate::directives::{Directives, Wrong};
use crate::programs::{self, Profile, is_rust};
use crate::single::{self, Trust};
use crate::{Failure, gdb, halves};
use clap::ValueEnum;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The command line of `run`.
#[derive(clap::Args)]
#[command(
    override_usage = "cargo xtask run [NAME|FILE] [--profile PROFILE] [OPTIONS] [-- ARGS]",
    after_help = "\
NAME is guest/examples/NAME.rs, NAME.c or guest/hostile/examples/NAME.rs; `hello` if none is given.
Where there is a host/examples/NAME.rs, that runs the guest, in place of `portcall`.
Of the directives in its header, `host` and `memory` hold here as well.
FILE.rs or FILE.c, a path, is a program of your own, with FILE-host.rs beside it if it needs a host half;
one in Rust has the crates guest, abi and calls. Any other FILE, a path with a `/`, is what `cargo xtask run NAME --emit snapshot=FILE` wrote: `portcall` goes on
from it, with the guest that is in it.
--profile PROFILE is how a guest in Rust is built: release (the default) or dev.
OPTIONS are those of `portcall run`, such as --steps, --memory 8MiB, --timeout 2s, --expect
rax=42; `cargo xtask run NAME --help` lists them. ARGS go to the guest.
--gdb on a terminal starts gdb (rust-gdb, where it is installed) beside the guest, which is held at its
entry; the terminal is gdb's. Elsewhere it says how to connect. A guest of --profile dev has its local
variables and all its lines; one of the release profile has functions and lines.

The guest's text is on stdout, everything else on stderr. The exit code is the guest's own
(0-100), or above 100 what ended it; 125 means that it was not run."
)]
pub(crate) struct Args {
    /// The program, and options for `portcall run`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<OsString>,
}

/// What [`Args`] mean.
#[derive(Debug, PartialEq)]
struct Plan {
    name: String,
    profile: Profile,
    options: Vec<OsString>,
}

/// Runs a guest; comes back only if that failed.
pub(crate) fn run(args: &Args, guest_args: &[OsString]) -> Result<ExitCode, Failure> {
    let plan = plan(&args.words)?;
    if is_source(&plan.name) {
        return single_file(&plan, guest_args);
    }
    // A snapshot has its guest in it, and no program's name has a slash.
    if plan.name.contains('/') {
        let mut command = Command::new(build_host_for(None, &plan.options)?);
        command.arg("run").arg(&plan.name);
        return goes_on(command, &plan.options, None, guest_args);
    }
    let program = programs::find(&plan.name)?;
    let image = program.image(plan.profile);
    let header = program.directives()?;
    let half = halves::of(&program.name, header.host.as_deref())?;
    // The guest first: it is what its author waits to hear about.
    programs::build(&[program], plan.profile)?;
    let host = build_host_for(half.as_deref(), &plan.options)?;

    let mut command = Command::new(host);
    command.arg("run").arg(&image).args(memory(header.memory.as_deref(), &plan.options));
    goes_on(command, &plan.options, Some(&image), guest_args)
}

/// Whether the name is that of a file with a program of its own.
fn is_source(name: &str) -> bool {
    let path = Path::new(name);
    path.extension().is_some_and(|it| it == "rs" || it == "c") && path.is_file()
}

/// Builds a program in one file, and its host half if NAME-host.rs is beside it, and runs it.
fn single_file(plan: &Plan, guest_args: &[OsString]) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::file("read", Path::new(&plan.name), error);
    let file = Path::new(&plan.name).canonicalize().map_err(failed)?;
    let text = fs::read_to_string(&file).map_err(failed)?;
    let header = Directives::parse(&text)
        .map_err(|Wrong { line, message }| Failure(format!("{}:{line}: {message}", plan.name)))?;
    let place = single::place_for(&file);
    let stem = file.file_stem().unwrap_or_default().display().to_string();
    let image = place.join(&stem);
    let compiled = if is_rust(&file) {
        single::build_libraries()?;
        single::compile_guest(&file, &image, &file, Trust::Own)?
    } else {
        compile(&file, &image, &header.build)?
    };
    must_be_built(compiled, &plan.name)?;
    let half = file.with_file_name(format!("{}-host.rs", header.host.as_deref().unwrap_or(&stem)));
    let host = if half.is_file() {
        let program = place.join("host").join(&stem);
        let shown = half.display().to_string();
        must_be_built(single::compile_half(&half, &program)?, &shown)?;
        program
    } else {
        let half = header.host.as_deref().map(|it| halves::of(&stem, Some(it))).transpose()?;
        build_host_for(half.flatten().as_deref(), &plan.options)?
    };
    let mut command = Command::new(host);
    command.arg("run").arg(&image).args(memory(header.memory.as_deref(), &plan.options));
    goes_on(command, &plan.options, Some(&image), guest_args)
}

/// Says what the compiler said; a failure if nothing was built.
fn must_be_built(compiled: Compiled, what: &str) -> Result<(), Failure> {
    match compiled {
        Compiled::Done(said) => {
            if !said.is_empty() {
                crate::err!("{}", from_here(said.trim_end()));
            }
            Ok(())
        }
        Compiled::NoCompiler(what) => Err(Failure(format!("there is {what} here; install it"))),
        Compiled::Failed(how) => Err(Failure(format!("{what}: {}", from_here(how.trim_end())))),
    }
}

/// A compiler's words with paths as the user would write them.
fn from_here(said: &str) -> String {
    let here = std::env::current_dir().map(|it| format!("{}/", it.display()));
    here.map_or_else(|_| said.to_owned(), |here| said.replace(&here, ""))
}

/// Goes on as that command with those options; or beside gdb, where someone at a terminal wants it.
fn goes_on(
    mut command: Command,
    options: &[OsString],
    image: Option<&Path>,
    guest_args: &[OsString],
) -> Result<ExitCode, Failure> {
    if !gdb::is_wanted(options) {
        command.args(options);
        return becomes(command, guest_args);
    }
    let meeting = gdb::Meeting::new()?;
    command.args(meeting.with_place(options));
    if !guest_args.is_empty() {
        command.arg("--").args(guest_args);
    }
    gdb::run(command, &meeting, image)
}

/// Goes on as that command.
fn becomes(mut command: Command, guest_args: &[OsString]) -> Result<ExitCode, Failure> {
    if !guest_args.is_empty() {
        command.arg("--").args(guest_args);
    }
    // In our place, so that signals, terminal and exit code are the real ones.
    let error = command.exec();
    Err(cannot_start(&command, &error))
}

/// Takes our own option and the name out of the words.
fn plan(words: &[OsString]) -> Result<Plan, Failure> {
    let mut profile = Profile::Release;
    let mut options = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--profile" {
            let value = words.next().map(|it| it.to_string_lossy());
            profile = parse_profile(value.as_deref().unwrap_or(""))?;
        } else if let Some(value) = text.strip_prefix("--profile=") {
            profile = parse_profile(value)?;
        } else {
            options.push(word.clone());
        }
    }
    let named = options.first().is_some_and(|it| !it.as_encoded_bytes().starts_with(b"-"));
    let name = if named { options.remove(0) } else { "hello".into() };
    Ok(Plan { name: name.to_string_lossy().into_owned(), profile, options })
}

/// The memory that a program's header asks for, without which it may not run at all; unless the
/// user has said another.
fn memory(header: Option<&str>, options: &[OsString]) -> Option<String> {
    let says = |it: &OsString| it == "--memory" || it.as_encoded_bytes().starts_with(b"--memory=");
    header.filter(|_| !options.iter().any(says)).map(|size| format!("--memory={size}"))
}

/// A profile by its name.
fn parse_profile(name: &str) -> Result<Profile, Failure> {
    Profile::from_str(name, false).map_err(|_| {
        Failure(format!("there is no profile `{name}`; say --profile release or --profile dev"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Result<(String, Profile, String), Failure> {
        let words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
        let plan = plan(&words)?;
        let options: Vec<_> = plan.options.iter().map(|it| it.to_string_lossy()).collect();
        Ok((plan.name, plan.profile, options.join(" ")))
    }

    #[test]
    fn the_first_word_is_the_name_and_options_pass_through() {
        let ok = |name: &str, profile, options: &str| Ok((name.into(), profile, options.into()));
        assert_eq!(planned(""), ok("hello", Profile::Release, ""));
        assert_eq!(planned("--steps"), ok("hello", Profile::Release, "--steps"));
        assert_eq!(planned("a --memory 8MiB"), ok("a", Profile::Release, "--memory 8MiB"));
        assert_eq!(planned("--profile dev a -q"), ok("a", Profile::Dev, "-q"));
        assert_eq!(planned("a -q --profile=dev b"), ok("a", Profile::Dev, "-q b"));
    }

    #[test]
    fn the_headers_memory_is_given_unless_the_user_says_another() {
        let given = |header, options: &str| {
            let options: Vec<OsString> = options.split_whitespace().map(OsString::from).collect();
            memory(header, &options)
        };
        assert_eq!(given(Some("8MiB"), "--steps"), Some("--memory=8MiB".to_owned()));
        assert_eq!(given(Some("8MiB"), "--steps --memory 4MiB"), None);
        assert_eq!(given(Some("8MiB"), "--memory=4MiB"), None);
        assert_eq!(given(None, ""), None);
    }

    #[test]
    fn an_unknown_profile_is_named() {
        for text in ["--profile fast", "--profile=fast"] {
            let Failure(message) = planned(text).expect_err(text);
            assert!(message.contains("`fast`"), "{message}");
        }
        assert!(planned("a --profile").is_err());
    }
}
