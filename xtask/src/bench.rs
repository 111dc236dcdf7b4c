//! `cargo xtask bench`: builds what is measured, as shipped, and what it stands beside; then the
//! bench has the word. Its options are its own (host/bench).

use crate::Failure;
use crate::cargo::{build_bench, build_host, has_static_libc, root, succeeds, target_dir};
use crate::programs::{self, Profile};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The command line of `bench`, which is handed on as it is.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Rows and options; --help lists them, --quick takes some 10 seconds
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ROW|OPTION")]
    words: Vec<OsString>,
}

/// The guests that rows run.
const GUESTS: [&str; 2] = ["calc", "text"];

/// Builds everything, and runs the bench.
pub(crate) fn bench(args: &Args) -> Result<ExitCode, Failure> {
    let directory = target_dir().join("bench");
    std::fs::create_dir_all(&directory)
        .map_err(|error| Failure::file("make", &directory, error))?;
    let mut command = Command::new(build_bench()?);
    // Behind the user's words nothing would be an option any more if there is a `--`.
    command.args([OsString::from("--portcall"), build_host(None)?.into()]);
    let naive = compile(&directory, "naive", has_static_libc())?;
    command.args([OsString::from("--naive"), naive.into()]);
    let dynamic = compile(&directory, "naive-dynamic", false)?;
    command.args([OsString::from("--naive-dynamic"), dynamic.into()]);
    command.args([OsString::from("--guests"), guests()?.into()]);
    command.args([OsString::from("--directory"), directory.into()]);
    let passed = succeeds(command.args(&args.words))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the guests, and says which directory they are in.
fn guests() -> Result<PathBuf, Failure> {
    let mut all = programs::all()?;
    all.retain(|it| GUESTS.contains(&it.name.as_str()));
    programs::build(&all, Profile::Release)?;
    let images = all.first().map(|it| it.image(Profile::Release));
    let directory = images.as_deref().and_then(Path::parent).map(Path::to_owned);
    directory.ok_or_else(|| Failure::new("the guests of the bench are gone from guest/examples"))
}

/// Compiles naive.c, the floor. cargo needs `cc` as well, to link.
fn compile(directory: &Path, name: &str, is_static: bool) -> Result<PathBuf, Failure> {
    let binary = directory.join(name);
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall"]).args(is_static.then_some("-static"));
    command.arg("-o").arg(&binary).arg(root().join("host/bench/naive.c"));
    if succeeds(&mut command)? {
        return Ok(binary);
    }
    Err(Failure::new(
        "host/bench/naive.c does not build; the compiler says why above (it needs the C library's \
         and Linux's headers: apt-get install gcc libc6-dev)",
    ))
}
