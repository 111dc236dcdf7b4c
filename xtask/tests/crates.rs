//! Crates that were not written for this get their own tests run on bare metal, by what the guide
//! (docs/src/testing.md) says, line by line: the lines are taken from it.
//!
//! The crates are as cargo has unpacked them from the registry: those that our Cargo.lock names.

mod common;
#[path = "common/page.rs"]
mod page;

use common::{clean, read, root, text};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A crate of Cargo.lock's.
struct Crate {
    name: &'static str,
    /// Files beneath tests/ that are programs; none where the library has the tests.
    programs: &'static [&'static str],
    /// Modules beside them that want the prelude.
    modules: &'static [&'static str],
    /// Lines of the library that go.
    std: &'static str,
    /// Tests that do not pass, and why not.
    skip: &'static [&'static str],
    passed: usize,
}

#[test]
fn itoa() {
    run(&Crate {
        name: "itoa",
        programs: &["test.rs"],
        modules: &[],
        std: "",
        skip: &[],
        passed: 11,
    });
}

#[test]
fn semver() {
    run(&Crate {
        name: "semver",
        programs: &[
            "test_autotrait.rs",
            "test_identifier.rs",
            "test_version.rs",
            "test_version_req.rs",
        ],
        modules: &["util/mod.rs"],
        std: "",
        skip: &[],
        passed: 34,
    });
}

#[test]
fn smallvec() {
    run(&Crate {
        name: "smallvec",
        programs: &[],
        modules: &[],
        std: "#[cfg(any(test, feature = \"write\"))]\nextern crate std;\n",
        // They catch a panic.
        skip: &["insert_many_panic::", "test_retain_panic_preserves_unprocessed_tail"],
        passed: 57,
    });
}

fn run(of: &Crate) {
    let mut fetch = Command::new("cargo");
    fetch.args(["fetch", "--quiet", "--locked"]).current_dir(root());
    assert!(fetch.status().expect("cargo starts").success());
    let guide = read(&root().join("docs/src/testing.md"));
    let home = copy(of.name);
    manifest(&home, of, &guide);
    let (top, end) = (block(&guide, "top"), block(&guide, "end"));
    for program in of.programs {
        frame(&home.join("tests").join(program), &top, &end);
    }
    let prelude = end.split_once("guest::tests!").expect("the last line").0;
    let prelude = prelude.split_once("as std;\n").expect("the lines of the prelude").1;
    for module in of.modules {
        frame(&home.join("tests").join(module), "", prelude);
    }
    if of.programs.is_empty() {
        let library = home.join("src/lib.rs");
        let text = read(&library);
        assert!(text.contains(of.std), "the library has another line for std");
        write(&library, &text.replace(of.std, ""));
        let (top, end) = (block(&guide, "library-top"), block(&guide, "library-end"));
        frame(&library, &top, &end);
    }
    let mut cargo = clean("cargo", &home);
    let run = block(&guide, "run");
    let words = run.trim_end().strip_prefix("$ cargo ").expect("a line of cargo's");
    cargo.args(words.split(' '));
    let runner = format!("[{:?}, \"runner\", \"--ring\", \"3\"]", env!("CARGO_BIN_EXE_xtask"));
    cargo.arg("--config").arg(format!("target.x86_64-unknown-none.runner={runner}"));
    // All that they share is built once.
    cargo.env("CARGO_TARGET_DIR", folder().join("target"));
    cargo.arg("--");
    of.skip.iter().for_each(|it| {
        cargo.args(["--skip", it]);
    });
    let output = cargo.output().expect("cargo starts");
    let (said, why) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{why}");
    let passed: usize = said.lines().filter_map(passed).sum();
    assert_eq!(passed, of.passed, "{said}\n{why}");
}

/// The number in `test result: ok. 11 passed; ...`.
fn passed(line: &str) -> Option<usize> {
    line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok()
}

/// The manifest, with the guide's lines and without what needs a `std`.
fn manifest(home: &Path, of: &Crate, guide: &str) {
    let path = home.join("Cargo.toml");
    let text = read(&path);
    let mut made = String::new();
    // Cargo has written it: a table a piece.
    for table in text.split_inclusive("\n\n") {
        let head = table.lines().find(|it| it.starts_with('[')).unwrap_or_default();
        if head.contains("dev-dependencies") || head == "[[bench]]" {
            continue;
        }
        made += table.trim_end();
        match head {
            "[[test]]" => made += "\nharness = false",
            "[lib]" if of.programs.is_empty() => made += "\nharness = false",
            "[lib]" => made += "\ntest = false",
            _ => {}
        }
        made += "\n\n";
    }
    let lines = block(guide, "dependencies");
    made += &lines.replace("PORTCALL", root().to_str().expect("a path that TOML can have"));
    // It lies beneath our own workspace here.
    made += "\n[workspace]\n";
    write(&path, &made);
    write(&home.join("Cargo.lock"), &read(&root().join("Cargo.lock")));
}

/// The block of the guide's that is marked as this test's under a name.
fn block(guide: &str, name: &str) -> String {
    page::block(guide, "crates", name)
}

/// Puts lines before and behind a file's.
fn frame(path: &Path, top: &str, end: &str) {
    write(path, &format!("{top}{}{end}", read(path)));
}

/// A fresh copy of a crate as cargo has unpacked it.
fn copy(name: &str) -> PathBuf {
    let version = version(name);
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env::var_os("HOME").expect("a home")).join(".cargo"));
    let unpacked = home.join("registry/src");
    let registries = unpacked.read_dir().expect("cargo has unpacked crates");
    let from = registries
        .map(|it| it.expect("an entry").path().join(format!("{name}-{version}")))
        .find(|it| it.is_dir())
        .expect("cargo has unpacked what Cargo.lock names: `cargo fetch`");
    let to = folder().join(name);
    let _ = fs::remove_dir_all(&to);
    copy_all(&from, &to);
    to
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in from.read_dir().expect("a directory") {
        let path = entry.expect("an entry").path();
        let place = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_all(&path, &place)
        } else {
            write(&place, &text(&fs::read(&path).expect("read")))
        }
    }
}

/// The version that Cargo.lock has.
fn version(name: &str) -> String {
    let lock = read(&root().join("Cargo.lock"));
    let start = format!("name = \"{name}\"\nversion = \"");
    let behind = lock.split_once(&start).expect("Cargo.lock has it").1;
    behind.split('"').next().expect("a piece").to_owned()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("crates")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
}
