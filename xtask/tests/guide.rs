//! The guide to tests in the guest (docs/src/testing.md), followed word by word: a package outside of this
//! workspace, the runner installed as it says, cargo and cargo-nextest.

mod common;
#[path = "common/page.rs"]
mod page;

use common::{clean, read, root, text};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

#[test]
fn a_package_of_its_own_has_its_tests_run() {
    let (guide, reader) = (guide(), Reader::new());
    let home = reader.package(&guide);
    reader.follow(&block(&guide, "sessions"), home.path());
    assert_reached(home.path(), &block(&guide, "library"), &block(&guide, "tests"));
}

#[test]
fn nextest_runs_them_too() {
    let (guide, reader) = (guide(), Reader::new());
    let there = Command::new("cargo-nextest").args(["nextest", "--version"]).output();
    assert!(there.is_ok(), "this test needs cargo-nextest: https://nexte.st/docs/installation");
    let home = reader.package(&guide);
    reader.follow(&block(&guide, "nextest"), home.path());
}

fn guide() -> String {
    read(&root().join("docs/src/testing.md"))
}

fn block(guide: &str, name: &str) -> String {
    let here = root().to_str().expect("a path that TOML can have");
    page::block(guide, "guide", name).replace("PORTCALL", here)
}

/// What was reached: lines of the library and of the tests that are known to have code.
fn assert_reached(home: &Path, library: &str, tests: &str) {
    let records = read(&home.join("reached.info"));
    for (file, source, line, reached) in [
        ("src/lib.rs", library, "self.length += 1;", true),
        ("src/lib.rs", library, "return Err(Full);", true),
        ("src/lib.rs", library, "self.first = (self.first + 1) % N;", true),
        ("tests/queue.rs", tests, "queue.push(it).expect(\"full\");", true),
        ("tests/queue.rs", tests, "println!(\"it is empty again\");", true),
        ("tests/queue.rs", tests, "let mut queue = Queue::<1000>::new();", false),
        ("tests/queue.rs", tests, "queue.push(it as u8)?;", false),
    ] {
        let number = source.lines().position(|it| it.trim() == line).expect("a line") + 1;
        let of_file = records.split("end_of_record").find(|it| it.contains(&format!("{file}\n")));
        let counts: Vec<&str> = of_file
            .expect("the source is there")
            .lines()
            .filter_map(|it| it.strip_prefix(&format!("DA:{number},")))
            .collect();
        let wanted = if reached { "1" } else { "0" };
        assert_eq!(counts, [wanted], "{file}:{number}: {line}\n{records}");
    }
}

/// Who types the guide's commands.
struct Reader {
    path: OsString,
    /// Where what takes long stays from one time to the next.
    kept: PathBuf,
}

impl Reader {
    fn new() -> Self {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
        Self { path: beside(&kept.join("installed/bin")), kept }
    }

    /// What is installed once, and the package as the guide writes it.
    fn package(&self, guide: &str) -> TempDir {
        let home = tempfile::tempdir().expect("a directory");
        self.follow(&block(guide, "install"), home.path());
        self.follow("$ cargo init --quiet --vcs none --lib --name queue\n", home.path());
        for (file, name) in [
            ("src/lib.rs", "library"),
            ("tests/queue.rs", "tests"),
            ("Cargo.toml", "manifest"),
            (".cargo/config.toml", "configuration"),
        ] {
            let file = home.path().join(file);
            fs::create_dir_all(file.parent().expect("a directory")).expect("created");
            fs::write(file, block(guide, name)).expect("written");
        }
        // The versions that are here already: nothing is fetched.
        fs::copy(root().join("Cargo.lock"), home.path().join("Cargo.lock")).expect("copied");
        home
    }

    /// Runs the commands of a block in a directory. They end well and print the lines that it shows,
    /// in any order: tests run at the same time.
    fn follow(&self, block: &str, home: &Path) {
        for session in block.split("$ ").skip(1) {
            let (line, shown) = session.split_once('\n').expect("a command's line");
            let mut shell = clean("sh", home);
            shell.args(["-c", &format!("{line} 2>&1")]).env("PATH", &self.path);
            // Nothing is fetched, and the second time little is built; opt-level is a matter of time.
            shell
                .env("CARGO_NET_OFFLINE", "true")
                .env("CARGO_INSTALL_ROOT", self.kept.join("installed"));
            shell.env("CARGO_TARGET_DIR", self.kept.join("target"));
            shell
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
            let output = shell.output().expect("a shell starts");
            let printed = text(&output.stdout);
            assert!(output.status.success(), "{line}\n{printed}");
            for wanted in shown.lines() {
                let is_there = printed.lines().any(|it| is_like(wanted, it));
                assert!(is_there, "{line}\n{printed}\ndoes not say: {wanted}");
            }
        }
    }
}

/// Whether a line is the one that is shown, where `...` is any text.
fn is_like(wanted: &str, mut line: &str) -> bool {
    line = line.trim();
    let mut pieces = wanted.split("...");
    let Some(rest) = pieces.next().and_then(|it| line.strip_prefix(it)) else { return false };
    line = rest;
    for piece in pieces {
        let Some(at) = line.find(piece) else { return false };
        line = &line[at + piece.len()..];
    }
    line.is_empty() || wanted.ends_with("...")
}

/// The search path with a directory before all others.
fn beside(directory: &Path) -> OsString {
    let paths = env::var_os("PATH").unwrap_or_default();
    let all = [directory.to_owned()].into_iter().chain(env::split_paths(&paths));
    env::join_paths(all).expect("paths")
}
