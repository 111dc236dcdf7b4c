//! The Rust target that guests are built for.

use crate::Failure;
use crate::cargo::{cannot_start, root, succeeds};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Bare metal: no operating system, no SSE, soft floats.
pub(crate) const TRIPLE: &str = "x86_64-unknown-none";

/// Whether the compiler has the target's `core` and `alloc`.
pub(crate) fn installed() -> Result<bool, Failure> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TRIPLE]).current_dir(root());
    let output = rustc.output().map_err(|error| cannot_start(&rustc, &error))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!(
            "rustc does not know the target {TRIPLE}; use a Rust of rust-toolchain.toml's channel\n{}",
            why.trim_end()
        )));
    }
    let directory = String::from_utf8_lossy(&output.stdout);
    // rustup leaves the directory behind, empty, when the target is removed.
    let mut files = Path::new(directory.trim_end()).read_dir().into_iter().flatten().flatten();
    Ok(files.any(|entry| entry.path().extension().is_some_and(|it| it == "rlib")))
}

/// Adds the target if it is not there.
pub(crate) fn ensure() -> Result<(), Failure> {
    if installed()? {
        return Ok(());
    }
    crate::err!("adding the Rust target {TRIPLE} (rustup target add)");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TRIPLE]).current_dir(root());
    rustup.stdin(Stdio::null()).stdout(io::stderr());
    match succeeds(&mut rustup) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure(format!(
            "rustup did not add the Rust target {TRIPLE}; it says why above. When it works again: \
             rustup target add {TRIPLE}"
        ))),
        Err(_) => Err(Failure(missing())),
    }
}

/// What to do where there is no rustup.
pub(crate) fn missing() -> String {
    format!(
        "the Rust target {TRIPLE} is not installed. With rustup: rustup target add {TRIPLE}. With \
         Rust from a package manager: install its rust-std for {TRIPLE} (Fedora: \
         rust-std-static-{TRIPLE}), or install rustup (https://rustup.rs)"
    )
}
