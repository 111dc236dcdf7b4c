//! `cargo xtask book`: builds the book's pages by mdBook, of one version, which is installed below
//! target/ when it is first asked for. The tests of its blocks do without it.

use crate::Failure;
use crate::cargo::{cargo, finish, root, succeeds, target_dir};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The version whose pages have been looked at.
const VERSION: &str = "0.5.4";

/// Builds it, and says where it is.
pub(crate) fn book() -> Result<ExitCode, Failure> {
    let mdbook = mdbook()?;
    let mut command = Command::new(mdbook);
    command.arg("build").arg(root().join("docs")).env("RUST_LOG", "warn");
    if !succeeds(&mut command)? {
        return Err(Failure::new("mdbook does not build docs/; it says why above"));
    }
    crate::out!("{}", target_dir().join("book/index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// The program, installed.
fn mdbook() -> Result<PathBuf, Failure> {
    let place = target_dir().join("tools").join(format!("mdbook-{VERSION}"));
    let program = place.join("bin/mdbook");
    if program.is_file() {
        return Ok(program);
    }
    crate::err!("installing mdbook {VERSION} below target/tools, once: that takes some minutes");
    let mut command = cargo("install");
    command.args(["--locked", "--version", VERSION, "--no-default-features"]);
    // Its own target directory, as it shares nothing with ours and is not needed afterwards.
    command.args(["--features", "search", "mdbook", "--root"]).arg(&place);
    command.env("CARGO_TARGET_DIR", place.join("build"));
    finish(command, "mdbook is not installed")?;
    let build = place.join("build");
    std::fs::remove_dir_all(&build).map_err(|error| Failure::file("remove", &build, error))?;
    Ok(program)
}
