//! Gradings by the real command: the repository's own exercises, and submissions that mean no good.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// An empty folder, outside of everything that cargo knows.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("portcall-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("created");
    folder
}

fn grade(folder: &Path, submission: Option<&Path>) -> (Value, Output) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("test").arg(folder).args(["--emit", "json"]).current_dir(root());
    if let Some(submission) = submission {
        command.arg("--submission").arg(submission);
    }
    let output = command.output().expect("xtask starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| unreachable!("{error}: no JSON; stderr: {said}"));
    (report, output)
}

/// What is said of a file, and whether it has passed.
fn of<'a>(report: &'a Value, file: &str) -> (&'a str, bool) {
    let all = report["exercises"].as_array().expect("a list");
    let one = all.iter().find(|it| it["file"] == file).unwrap_or_else(|| unreachable!("{file}"));
    (one["message"].as_str().expect("text"), one["passed"].as_bool().expect("a bool"))
}

#[test]
fn the_solutions_have_all_points_and_what_is_handed_out_has_none() {
    let exercises = root().join("docs/exercises");
    let mut count = 0;
    for entry in exercises.read_dir().expect("exercises") {
        let folder = entry.expect("readable").path();
        if !folder.is_dir() {
            continue;
        }
        let solutions = root().join("docs/solutions").join(folder.file_name().expect("a name"));
        let (report, output) = grade(&folder, Some(&solutions));
        assert!(output.status.success(), "{report:#}");
        assert_eq!(report["points"], report["of"], "{report:#}");
        let (report, output) = grade(&folder, None);
        assert_eq!(output.status.code(), Some(1), "{report:#}");
        assert_eq!(report["points"], 0, "{report:#}");
        count += 1;
    }
    assert!(count >= 3, "{count} folders of exercises");
}

const HEAD: &str = "#![no_std]\n#![no_main]\nuse guest::{Boot, println};\nguest::entry!(main);\n";

/// A program whose `main` does that.
fn program(body: &str) -> String {
    format!("{HEAD}fn main(_: &Boot) {{ {body} }}\n")
}

/// Files of a submission, their programs, and what is said of each; nothing of those that are right.
fn programs(secret: &Path) -> Vec<(&'static str, String, &'static str)> {
    let included = format!("println!(\"{{}}\", include_str!({secret:?}));");
    vec![
        ("right.rs", program("println!(\"fine\");"), ""),
        ("wrong.rs", program("println!(\"bad\");"), "the output is not that of wrong.out"),
        (
            "own.rs",
            format!(
                "//@ output: ignored\n//@ points: 9\n//@ expect: exit=3\n{HEAD}fn main(_: &Boot) -> guest::Exit {{ guest::Exit::code(3) }}\n"
            ),
            "process code 3, expected 0",
        ),
        ("syntax.rs", "fn main( {".to_owned(), "it does not build"),
        ("empty.rs", String::new(), "it does not build"),
        (
            "loops.rs",
            program("println!(\"fine\"); loop { core::hint::spin_loop() }"),
            "process code 124",
        ),
        ("prints.rs", program("loop { println!(\"fine\") }"), "process code 12"),
        ("reads.rs", program(&included), "into itself"),
        (
            "faults.rs",
            program("println!(\"fine\"); unsafe { (8 as *mut u8).write_volatile(1) }"),
            "process code 139",
        ),
        ("odd \u{1b}[2J\u{e9}\n.rs", program("println!(\"fine\");"), ""),
        ("make.c", "#include \"/dev/zero\"\n".to_owned(), "it "),
    ]
}

#[test]
fn what_means_no_good_fails_alone() {
    let home = scratch("hostile-submission");
    let (asked, given) = (home.join("asked it's \"1\""), home.join("given $(x) `y`"));
    fs::create_dir_all(&asked).expect("created");
    fs::create_dir_all(&given).expect("created");
    let secret = home.join("secret");
    fs::write(&secret, "fine\n").expect("written");
    let programs = programs(&secret);
    for (file, text, _) in &programs {
        let build = if file.ends_with(".c") { "//@ build: cc -nostdlib -o $OUT $IN\n" } else { "" };
        fs::write(asked.join(file), format!("//@ timeout: 2s\n{build}")).expect("written");
        fs::write(asked.join(file).with_extension("out"), "fine\n").expect("written");
        fs::write(given.join(file), text).expect("written");
    }
    let none = ["link.rs", "folder.rs", "missing.rs", "huge.rs", "bytes.rs", "pipe.rs"];
    for file in none {
        fs::write(asked.join(file), "").expect("written");
        fs::write(asked.join(file).with_extension("out"), "fine\n").expect("written");
    }
    symlink(given.join("right.rs"), given.join("link.rs")).expect("linked");
    fs::create_dir(given.join("folder.rs")).expect("created");
    fs::write(given.join("huge.rs"), vec![b'/'; 2 << 20]).expect("written");
    fs::write(given.join("bytes.rs"), b"//\xff\n").expect("written");
    let made = Command::new("mkfifo").arg(given.join("pipe.rs")).status().expect("mkfifo");
    assert!(made.success());
    // Exercises that are wrong themselves.
    fs::write(asked.join("header.rs"), "//@ pints: 3\n").expect("written");
    fs::write(given.join("header.rs"), "").expect("written");
    fs::write(asked.join("half.rs"), "//@ host: nobody\n").expect("written");
    fs::write(given.join("half.rs"), program("")).expect("written");
    fs::create_dir(asked.join("dir.rs")).expect("created");

    let (report, output) = grade(&asked, Some(&given));
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let shown = |file: &str| file.replace('\u{1b}', "\\u{1b}").replace('\n', "\\n");
    for (file, _, wrong) in &programs {
        let (message, passed) = of(&report, &shown(file));
        assert_eq!(passed, wrong.is_empty(), "{file}: {message}");
        assert!(message.contains(wrong), "{file}: {message}");
    }
    for (file, wrong) in [
        ("link.rs", "is a symbolic link"),
        ("folder.rs", "is a directory"),
        ("missing.rs", "it is not there"),
        ("huge.rs", "more than 1 MiB"),
        ("bytes.rs", "is not UTF-8"),
        ("pipe.rs", "is no plain file"),
        ("header.rs", "the exercise is wrong in line 1: there is no directive `pints`"),
        ("half.rs", "names no host half"),
        ("dir.rs", "is a directory"),
    ] {
        let (message, passed) = of(&report, file);
        assert!(!passed && message.contains(wrong), "{file}: {message}");
    }
    assert_eq!((&report["points"], &report["of"]), (&Value::from(2), &Value::from(20)));
    assert!(!output.stderr.contains(&0x1b), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_dir_all(home).expect("removed");
}

#[test]
fn a_folder_without_exercises_is_an_error() {
    let folder = scratch("no-exercises");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("test")
        .arg(&folder)
        .current_dir(root())
        .output()
        .expect("xtask starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is no exercise in "), "{said}");
    fs::remove_dir_all(folder).expect("removed");
}
