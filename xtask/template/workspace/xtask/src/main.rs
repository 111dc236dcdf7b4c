//! `cargo xtask`: builds the guest for bare metal, then the host around it.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask run     builds guest and host, and runs them
cargo xtask build   only builds them
cargo xtask test    builds the guest, and runs the host's tests with it, and the guest's own
cargo xtask runner  runs a guest's tests: what .cargo/runner starts them by";

const GUEST: &str = "{{name}}-guest";
const HOST: &str = "{{name}}";

/// The checkout of Portcall, which has the program that runs a guest's tests.
#[rustfmt::skip]
const PORTCALL: &str = "{{portcall}}";

/// What guests are built for.
const BARE_METAL: &str = "x86_64-unknown-none";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["run"] => build().and_then(|()| run()),
        ["build"] => build(),
        ["test"] => build_guest().and_then(|()| succeed(cargo("test"))).and_then(|()| test_guest()),
        ["runner", ref words @ ..] => runner(words),
        [] | ["help" | "-h" | "--help"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(format!("there is no `cargo xtask {}`; there are\n{HELP}", words.join(" "))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The guest first: its image goes into the host.
fn build() -> Result<(), String> {
    build_guest()?;
    succeed(cargo("build"))
}

fn build_guest() -> Result<(), String> {
    ensure_target()?;
    let mut command = cargo("build");
    command.args(["--release", "--package", GUEST, "--target", BARE_METAL]);
    succeed(command)
}

/// Becomes the host, so that signals, terminal and exit code are its own.
fn run() -> Result<(), String> {
    let mut host = Command::new(root().join("target/debug").join(HOST));
    let error = host.exec();
    Err(cannot_start(&host, &error))
}

/// The guest's own tests, each in a VM.
fn test_guest() -> Result<(), String> {
    let mut command = cargo("test");
    command.args(["--release", "--package", GUEST, "--target", BARE_METAL]);
    succeed(command)
}

/// Builds `portcall`, and becomes `portcall test` for a program of tests and options for it.
fn runner(words: &[&str]) -> Result<(), String> {
    let target = root().join("target/portcall");
    let mut build = Command::new("cargo");
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    build.args(["build", "--quiet", "--release", "--package", "portcall-cli"]);
    build.arg("--manifest-path").arg(Path::new(PORTCALL).join("Cargo.toml"));
    build.arg("--target-dir").arg(&target);
    succeed(build)?;
    let mut tests = Command::new(target.join("release/portcall"));
    let error = tests.arg("test").args(words).exec();
    Err(cannot_start(&tests, &error))
}

/// Adds what Rust needs to build for bare metal, where it is missing.
fn ensure_target() -> Result<(), String> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", BARE_METAL]).current_dir(root());
    let output = rustc.output().map_err(|error| cannot_start(&rustc, &error))?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    // The directory may be there without them.
    if Path::new(libraries.trim_end()).read_dir().is_ok_and(|mut files| files.next().is_some()) {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", BARE_METAL]).current_dir(root());
    succeed(rustup).map_err(|why| {
        format!("{why}\nThe Rust target {BARE_METAL} is missing; install it, then try again")
    })
}

/// Cargo, putting what it builds where host/build.rs and `run` look for it.
fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new("cargo");
    // Flags in the environment would replace the guest's, which .cargo/config.toml has.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.arg(subcommand).arg("--target-dir").arg(root().join("target")).current_dir(root());
    command
}

/// Runs a command to its end, which must be a good one.
fn succeed(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| cannot_start(&command, &error))?;
    if status.success() {
        return Ok(());
    }
    let words: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
    Err(format!("{} {} failed", command.get_program().display(), words.join(" ")))
}

fn cannot_start(command: &Command, error: &io::Error) -> String {
    format!("cannot start {}: {error}", command.get_program().display())
}

/// The workspace's root.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
