//! `cargo xtask check`: formatting, lints, documentation and links. All stages run, so that one
//! look shows everything there is to mend.

use crate::cargo::{cannot_start, cargo, root, succeeds};
use crate::links::{Page, Tree};
use crate::{BAD, Failure, GOOD, target};
use std::process::{Command, ExitCode};

/// Runs all stages and sums them up.
pub(crate) fn check() -> Result<ExitCode, Failure> {
    target::ensure()?;
    let mut results: Vec<(&str, bool)> = Vec::new();
    for (name, words) in cargo_stages() {
        results.push((name, run_stage(name, &words)?));
    }
    results.push(("links", check_links()?));
    crate::err!();
    for (name, ok) in &results {
        if *ok {
            crate::err!("check {name} ... {GOOD}ok{GOOD:#}");
        } else {
            crate::err!("check {name} ... {BAD}FAILED{BAD:#}");
        }
    }
    let ok = results.iter().all(|(_, ok)| *ok);
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The stages that cargo does: a name, and cargo's words.
fn cargo_stages() -> Vec<(&'static str, Vec<&'static str>)> {
    let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
    let mut stages = vec![
        ("format", words("fmt --all --check")),
        // Another workspace, of which stable cannot build more.
        ("format (fuzz)", words("fmt --check --manifest-path fuzz/Cargo.toml")),
        (
            "lints (host)",
            words(
                "clippy --quiet --keep-going --workspace --all-targets \
                 --features portcall-cli/instruments,portcall-cli/fuzz -- -D warnings",
            ),
        ),
        // What stands there without them.
        (
            "lints (host, no instruments)",
            words(
                "clippy --quiet --keep-going --package portcall-cli --package portcall-inspect -- -D warnings",
            ),
        ),
        // Named targets, not --all-targets: there is no test harness on bare metal.
        (
            "lints (guest)",
            words(
                "clippy --quiet --keep-going --target x86_64-unknown-none \
                 --package portcall-guest --lib --examples --tests -- -D warnings",
            ),
        ),
    ];
    if root().join("guest/hostile").is_dir() {
        stages.push((
            "lints (hostile guests)",
            words(
                "clippy --quiet --keep-going --target x86_64-unknown-none \
                 --package portcall-hostile --lib --examples --tests -- -D warnings",
            ),
        ));
    }
    stages.push((
        "lints (guest of the laboratory)",
        words(
            "clippy --quiet --keep-going --target x86_64-unknown-none \
             --package portcall-lab-guest --bins -- -D warnings",
        ),
    ));
    stages.push((
        "lints (laboratory)",
        words(
            "clippy --quiet --keep-going --package portcall-cli --features portcall-cli/lab \
             --all-targets -- -D warnings",
        ),
    ));
    stages.push((
        "documentation (host)",
        words(
            "doc --quiet --keep-going --workspace --no-deps --lib \
             --features portcall-cli/instruments,portcall-cli/fuzz",
        ),
    ));
    // The modules that exist on bare metal only.
    stages.push((
        "documentation (guest)",
        words(
            "doc --quiet --keep-going --target x86_64-unknown-none \
             --package portcall-guest --package portcall-abi --no-deps --lib",
        ),
    ));
    stages
}

/// Says what is run, and runs it.
fn run_stage(name: &str, words: &[&str]) -> Result<bool, Failure> {
    let documents = words.first() == Some(&"doc");
    let flags = if documents { "RUSTDOCFLAGS='-D warnings' " } else { "" };
    crate::err!("check {name}: {flags}cargo {}", words.join(" "));
    let Some((subcommand, arguments)) = words.split_first() else { return Ok(true) };
    let mut command = cargo(subcommand);
    command.args(arguments);
    if documents {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    succeeds(&mut command)
}

/// Lists the dead links of all Markdown files that git tracks or would track.
fn check_links() -> Result<bool, Failure> {
    crate::err!("check links: relative links and anchors in *.md, without a network");
    let mut tree = Tree { files: files()?, ..Tree::default() };
    for file in tree.files.iter().filter(|it| it.ends_with(".md")) {
        let path = root().join(file);
        let text =
            std::fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, error))?;
        tree.pages.insert(file.clone(), Page::read(&text));
    }
    let dead = tree.dead_links();
    for link in &dead {
        crate::err!("{BAD}dead link{BAD:#}: {link}");
    }
    Ok(dead.is_empty())
}

/// The repository's files, new ones as well; not what is ignored, which a clone does not have.
fn files() -> Result<std::collections::BTreeSet<String>, Failure> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let output = git.output().map_err(|error| cannot_start(&git, &error))?;
    if !output.status.success() {
        return Err(Failure(format!(
            "git cannot list the repository's files, so links cannot be checked: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        )));
    }
    let names = output.stdout.split(|byte| *byte == 0).filter(|it| !it.is_empty());
    let names = names.map(|it| String::from_utf8_lossy(it).into_owned());
    // Tracked, but deleted: as good as gone.
    Ok(names.filter(|it| root().join(it).exists()).collect())
}
