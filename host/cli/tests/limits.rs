//! `--limit` from outside.

#[path = "../../tests/common/mod.rs"]
mod common;
mod said;

use common::elf::Elf;
use said::assert_says;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// Writes 'H' for ever: mov al, 'H'; out 0xe9, al; jmp back.
const FLOOD: &[u8] = &[0xb0, b'H', 0xe6, 0xe9, 0xeb, 0xfc];

fn flood(options: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("guest");
    std::fs::write(&image, Elf::new(FLOOD).bytes()).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.arg("run").arg(image).args(options).output().expect("starts")
}

#[test]
fn an_end_names_the_limit_and_has_its_own_process_code() {
    let output = flood(&["--limit=exits=3"]);
    assert_eq!(output.stdout, b"HHH");
    assert_says(&output, 122, &["made more exits than its limit of 3 exits", "(4 exits"]);
    let output = flood(&["--limit=console=5"]);
    assert_eq!(output.stdout, b"HHHHH");
    assert_says(&output, 122, &["printed more than its limit of 5 bytes"]);
    let output = flood(&["--limit=time=10ms"]);
    assert_says(&output, 124, &["ran longer than its limit of 10ms"]);
}

#[test]
fn the_least_of_a_kind_counts_and_other_programs_are_told() {
    let output = flood(&[
        "--timeout=1h",
        "--limit=time=1h",
        "--limit=console=1MiB",
        "--limit=exits=2",
        "--limit=exits=4",
        "--expect=end=limit-reached",
        "--expect=exits=3",
        "--emit=json",
    ]);
    assert_says(&output, 122, &[]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let json: serde_json::Value =
        serde_json::from_str(text.strip_prefix("HH").expect("text first")).expect("JSON");
    assert_eq!(json["end"]["limit"], "exits");
    assert_eq!((&json["end"]["most"], &json["calls"]), (&2.into(), &0.into()));
}

#[test]
fn what_is_no_limit_is_said() {
    assert_says(&flood(&["--limit=memory=5"]), 125, &["time, exits, console, calls"]);
    assert_says(&flood(&["--limit=exits"]), 125, &["KEY=N"]);
    assert_says(&flood(&["--limit=exits=many"]), 125, &["\"many\" is no number of exits"]);
}

/// Runs it with none of something that the system limits.
fn without(what: libc::__rlimit_resource_t, options: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("guest");
    // mov al, 'H'; out 0xe9, al; hlt
    std::fs::write(&image, Elf::new(&[0xb0, b'H', 0xe6, 0xe9, 0xf4]).bytes()).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.arg("run").arg(image).args(options).current_dir(folder.path());
    let limit = move || {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `none` is readable for the call's duration.
        match unsafe { libc::setrlimit(what, &raw const none) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: one system call, which may be made between fork and exec.
    unsafe { command.pre_exec(limit) }.output().expect("starts")
}

#[test]
fn limits_of_the_system_are_said_and_cost_no_text() {
    // Files of no bytes: an output is an error, where a signal would have ended the process.
    let output = without(libc::RLIMIT_FSIZE, &["--emit=json=out"]);
    assert_says(&output, 125, &["cannot write out: File too large"]);
    assert_eq!(output.stdout, b"H");
    // No signals in a queue, and so no timers: a run needs none, a limit of time does.
    let output = without(libc::RLIMIT_SIGPENDING, &[]);
    assert_says(&output, 0, &["halted"]);
    assert_eq!(output.stdout, b"H");
    let output = without(libc::RLIMIT_SIGPENDING, &["--timeout=1s"]);
    assert_says(&output, 125, &["timer_create", "ulimit -i"]);
}
