//! What `cargo xtask new` makes builds, runs and passes its tests as it stands: in a workspace of
//! its own, and in a copy of this one.
//!
//! Both stay below target/ with all that was built in them, so that the next time little is.

mod common;

use common::{clean, read, root, text};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// What the example prints.
const OUTPUT: &str = "Ada has 3\nBob has 5\nAda has 7\n";

#[test]
fn a_workspace_of_its_own_is_complete() {
    fetch();
    // A path with a blank, and the longest name: lines with it still are as rustfmt has them.
    let name = "my-scores-with-a-name-as-long-as-allowed";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new at");
    let (home, kept) = (folder.join(name), folder.join("target"));
    let _ = fs::rename(home.join("target"), &kept);
    let _ = fs::remove_dir_all(&home);
    succeed(clean(env!("CARGO_BIN_EXE_xtask"), root()).args(["new", "--at"]).arg(&home));

    // What an editor does first, and who has not read the README.
    succeed(cargo(&home, "clippy").args(["--workspace", "--all-targets", "--", "-Dwarnings"]));
    let early = output(&mut cargo(&home, "run"));
    assert_eq!(early.status.code(), Some(125));
    assert!(text(&early.stderr).contains("error: the guest is not built; to build and run both"));

    let _ = fs::rename(&kept, home.join("target"));
    assert_eq!(succeed(cargo(&home, "xtask").arg("run")), OUTPUT);
    let tests = succeed(cargo(&home, "xtask").arg("test"));
    assert!(tests.contains("the_guest_prints_what_it_should ... ok"), "{tests}");
    assert!(tests.contains("test text_is_formatted_without_a_heap ... ok"), "{tests}");
    // By cargo alone, and as cargo-nextest starts one: what was built runs it.
    let guest = format!("--package={name}-guest");
    let bare = ["--release", "--target=x86_64-unknown-none", &guest];
    for (name, mode) in [("NO_NEXTEST", ""), ("NEXTEST_EXECUTION_MODE", "process-per-test")] {
        let tests = succeed(cargo(&home, "test").args(bare).env(name, mode));
        assert!(tests.contains("test text_is_formatted_without_a_heap ... ok"), "{tests}");
    }
    succeed(cargo(&home, "fmt").args(["--all", "--check"]));
    succeed(cargo(&home, "clippy").args(bare).args(["--", "-Dwarnings"]));

    // A guest that dies is explained, and is no success.
    let guest = home.join("guest/src/main.rs");
    let dying =
        read(&guest).replace("println!(", "assert_ne!(player, \"Bob\");\n        println!(");
    fs::write(&guest, dying).expect("written");
    let died = output(cargo(&home, "xtask").arg("run"));
    let said = text(&died.stderr);
    assert_eq!((died.status.code(), &*text(&died.stdout)), (Some(101), "Ada has 3\n"), "{said}");
    assert!(said.contains("error: panicked: ") && said.contains("guest/src/main.rs:14:"), "{said}");
}

#[test]
fn an_experiment_is_complete_and_grows_as_the_guide_says() {
    fetch();
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new here");
    mirror(&copy);
    succeed(cargo(&copy, "xtask").args(["new", "scores"]));
    succeed(cargo(&copy, "fmt").args(["--all", "--check"]));
    assert_eq!(succeed(cargo(&copy, "xtask").args(["run", "scores"])), OUTPUT);
    let tests = succeed(cargo(&copy, "xtask").args(["test", "--guests", "guest scores"]));
    assert!(
        tests.ends_with("test guest scores (ring 3) ... ok\n\n2 passed, 0 failed\n"),
        "{tests}"
    );

    for (index, diff) in diffs(&read(&root().join("CONTRIBUTING.md"))).iter().enumerate() {
        let file = copy.join(format!("target/guide-{index}.diff"));
        fs::write(&file, diff).expect("written");
        // As if the copy were no part of our repository.
        let above = ("GIT_CEILING_DIRECTORIES", env!("CARGO_TARGET_TMPDIR"));
        succeed(clean("git", &copy).env(above.0, above.1).arg("apply").arg(&file));
    }
    assert_eq!(
        succeed(cargo(&copy, "xtask").args(["run", "scores"])),
        format!("{OUTPUT}The best has 7\n")
    );
    succeed(cargo(&copy, "fmt").args(["--all", "--check"]));
    let guest = ["--package", "portcall-guest", "--target", "x86_64-unknown-none"];
    for package in [&guest[..], &["--package", "portcall"]] {
        let example = ["--example", "scores", "--", "-Dwarnings"];
        succeed(cargo(&copy, "clippy").args(package).args(example));
    }

    // A second one stays out of the first one's way, and leaves nothing halfway.
    for gone in ["guest/examples/scores.rs", "guest/examples/scores.out", "host/examples/scores.rs"]
    {
        fs::remove_file(copy.join(gone)).expect("removed");
    }
    let again = output(cargo(&copy, "xtask").args(["new", "scores"]));
    let said = text(&again.stderr);
    assert_eq!(again.status.code(), Some(1));
    assert!(said.contains("guest/calls/src/scores.rs already; choose another name"), "{said}");
    assert!(!copy.join("guest/examples/scores.rs").exists());
}

/// Has cargo fetch what our Cargo.lock names. Nothing else is there from here on.
fn fetch() {
    let mut fetch = clean("cargo", root());
    fetch.args(["fetch", "--quiet", "--locked"]);
    fetch.args(["--target", "x86_64-unknown-linux-gnu", "--target", "x86_64-unknown-none"]);
    succeed(&mut fetch);
}

/// Cargo in a workspace, without a network; and without debug information for hosts, which would
/// be most of what is built.
fn cargo(home: &Path, subcommand: &str) -> Command {
    let mut command = clean("cargo", home);
    command.env("CARGO_NET_OFFLINE", "true").env("CARGO_PROFILE_DEV_DEBUG", "false");
    command.arg(subcommand);
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("it starts")
}

/// What a command prints, which must end well.
fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{command:?}\n{said}\n{}", text(&output.stderr));
    said
}

/// The blocks of a page that are changes.
fn diffs(page: &str) -> Vec<&str> {
    let diffs: Vec<_> = page.split("\n```diff\n").skip(1).collect();
    assert!(!diffs.is_empty(), "the guide shows how to add a call");
    diffs.into_iter().map(|it| it.split_inclusive("```\n").next().expect("a piece")).collect()
}

/// Makes `copy` what the repository is, but for what was built there. Files that have not
/// changed are not touched, so that cargo does not build them again.
fn mirror(copy: &Path) {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let list = succeed(clean("git", root()).args(list));
    let files: BTreeSet<&str> = list.split_terminator('\0').collect();
    for file in &files {
        let (from, to) = (root().join(file), copy.join(file));
        // Tracked, but deleted.
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(to.parent().expect("a directory")).expect("created");
            // Scripts stay what can be started.
            fs::copy(&from, &to).expect("copied");
        }
    }
    remove_others(copy, copy, &files);
}

/// Removes all files but these and what was built.
fn remove_others(copy: &Path, directory: &Path, files: &BTreeSet<&str>) {
    let entries = directory.read_dir().expect("a directory");
    let paths: Vec<PathBuf> = entries.map(|it| it.expect("an entry").path()).collect();
    for path in paths {
        let name = path.strip_prefix(copy).expect("below the copy").to_string_lossy();
        if path.is_dir() && name != "target" {
            remove_others(copy, &path, files);
        } else if path.is_file() && (!files.contains(&*name) || !root().join(&*name).exists()) {
            fs::remove_file(&path).expect("removed");
        }
    }
}
