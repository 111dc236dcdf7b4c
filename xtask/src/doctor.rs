//! `cargo xtask doctor`: the tools that build guests, then `portcall doctor` about KVM.

use crate::Failure;
use crate::cargo::{build_host, cannot_start, root};
use crate::target::{self, TRIPLE};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Says what is there, and becomes `portcall doctor`; comes back only if that failed.
pub(crate) fn doctor() -> Result<ExitCode, Failure> {
    match target::installed() {
        Ok(true) => crate::out!("Rust target  {TRIPLE}: installed"),
        Ok(false) => crate::out!("Rust target  {}", target::missing()),
        Err(Failure(message)) => crate::out!("Rust target  {message}"),
    }
    crate::out!("compiler     {}", version("rustc"));
    crate::out!("build tool   {}", version("cargo"));
    crate::out!("C compiler   {}", version("cc"));
    // On a machine that cannot have KVM, this says so.
    let mut command = Command::new(build_host(None)?);
    let error = command.arg("doctor").exec();
    Err(cannot_start(&command, &error))
}

/// The first line of what a tool says its version is.
fn version(tool: &str) -> String {
    let output = Command::new(tool).arg("--version").current_dir(root()).output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().unwrap_or(tool).to_owned()
        }
        Ok(output) => format!("{tool} --version failed ({})", output.status),
        Err(_) if tool == "cc" => "no cc on PATH; only the guests in C need it".to_owned(),
        Err(error) => format!("cannot start {tool}: {error}; install Rust (https://rustup.rs)"),
    }
}
