//! `portcall test`: what it reads of an image, which may be hostile, and says without a run. What runs
//! is in guest/tests and guest/hostile/tests, which `cargo xtask test` gives it.

#[path = "../../tests/common/mod.rs"]
mod common;
mod said;
mod tracer;

use common::elf::{Elf, Ph};
use portcall::abi;
use portcall::abi::note::{TYPE_ENTRY, TYPE_SERVES, head};
use portcall::abi::tests::{Entry, IGNORED, SHOULD_PANIC, TEST};
use said::assert_says;
use std::process::{Command, Output, Stdio};
use tempfile::NamedTempFile;

const PT_NOTE: u32 = 4;

/// hlt: the guest never comes to where it waits for calls.
const HALT: &[u8] = &[0xf4];

fn note(kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut note = head(kind, descriptor.len()).to_vec();
    note.extend_from_slice(descriptor);
    note.resize(note.len().next_multiple_of(8), 0);
    note
}

/// That the image answers calls for tests.
fn serves() -> Vec<u8> {
    let interface = &abi::tests::INTERFACE;
    let methods: String = interface.methods.iter().map(|it| format!("{it}\0")).collect();
    note(TYPE_SERVES, format!("{}\0{methods}", interface.name).as_bytes())
}

fn entry(name: &str) -> Entry<'_> {
    Entry { kind: TEST, flags: 0, timeout: 0, name, reason: "", expected: "" }
}

/// A descriptor: the function's address, and what the entry says.
fn descriptor(entry: &Entry<'_>) -> Vec<u8> {
    let rest: [u8; 256] = entry.to_bytes();
    [&0x10_0000_u64.to_le_bytes()[..], &rest[..entry.size()]].concat()
}

fn listed(entry: &Entry<'_>) -> Vec<u8> {
    note(TYPE_ENTRY, &descriptor(entry))
}

/// An image with these notes.
fn image(notes: &[Vec<u8>]) -> NamedTempFile {
    let notes = notes.concat();
    let size = notes.len() as u64;
    let header = Ph {
        kind: PT_NOTE,
        flags: 4,
        offset: 0,
        vaddr: 0x20_0000,
        paddr: 0x20_0000,
        filesz: size,
        memsz: size,
        align: 8,
    };
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), Elf::new(HALT).with(header, &notes).bytes()).expect("written");
    file
}

fn command(file: &NamedTempFile, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.arg("test").arg(file.path()).args(words).stdin(Stdio::null());
    command.env_remove("RUST_TEST_THREADS").env_remove("RUST_TEST_NOCAPTURE");
    command
}

fn output(file: &NamedTempFile, words: &[&str]) -> Output {
    command(file, words).output().expect("it starts")
}

/// What it prints, which must end with that code.
fn printed(file: &NamedTempFile, words: &[&str], code: i32) -> String {
    let output = output(file, words);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}{}", said::stderr(&output));
    said
}

fn three() -> NamedTempFile {
    let slow = Entry { flags: IGNORED, reason: "slow", ..entry("queue::tests::slow") };
    let full = Entry { flags: SHOULD_PANIC, expected: "full", ..entry("queue::tests::full") };
    image(&[serves(), listed(&slow), listed(&full), listed(&entry("a"))])
}

#[test]
fn names_are_listed_in_order_as_libtest_does() {
    let file = three();
    assert_eq!(
        printed(&file, &["--list"], 0),
        "a: test\nqueue::tests::full: test\nqueue::tests::slow: test\n\n3 tests, 0 benchmarks\n"
    );
    // As cargo-nextest asks.
    let terse = ["--list", "--format", "terse"];
    assert_eq!(
        printed(&file, &terse, 0),
        "a: test\nqueue::tests::full: test\nqueue::tests::slow: test\n"
    );
    assert_eq!(
        printed(&file, &[&terse[..], &["--ignored"]].concat(), 0),
        "queue::tests::slow: test\n"
    );
    assert_eq!(
        printed(&file, &["--list", "tests", "--skip", "full"], 0),
        "queue::tests::slow: test\n\n1 test, 0 benchmarks\n"
    );
    assert_eq!(printed(&file, &["--list", "nothing"], 0), "0 tests, 0 benchmarks\n");
}

#[test]
fn a_list_makes_no_use_of_kvm() {
    let file = three();
    let mut list = command(&file, &["--list"]);
    list.stdout(Stdio::null());
    assert_eq!(tracer::kvm_ioctls(list), (Vec::new(), 0));
}

#[test]
fn two_of_one_name_are_two_tests() {
    let file = image(&[serves(), listed(&entry("same")), listed(&entry("same"))]);
    assert_eq!(printed(&file, &["--list", "--format=terse"], 0), "same: test\nsame: test\n");
}

#[test]
fn an_image_without_tests_has_none() {
    let file = image(&[serves()]);
    assert_eq!(printed(&file, &["--list"], 0), "0 tests, 0 benchmarks\n");
    // Of another kind, for another program.
    let other = Entry { kind: 77, ..entry("other") };
    let file = image(&[serves(), listed(&other)]);
    assert_eq!(printed(&file, &["--list"], 0), "0 tests, 0 benchmarks\n");
}

#[test]
fn an_image_that_answers_no_tests_is_told_what_it_lacks() {
    let file = image(&[listed(&entry("a"))]);
    assert_says(&output(&file, &["--list"]), 125, &["guest::tests!()", "portcall run"]);
}

#[test]
fn damaged_entries_are_named() {
    let whole = descriptor(&entry("queue::full"));
    let cut = |size: usize| note(TYPE_ENTRY, &whole[..size]);
    let with = |at: usize, byte: u8| {
        let mut damaged = whole.clone();
        damaged[at] = byte;
        note(TYPE_ENTRY, &damaged)
    };
    for (damaged, what) in [
        (cut(0), "it is cut"),
        (cut(8), "it is cut"),
        (cut(39), "it is cut"),
        (cut(44), "it is cut"),
        (with(24, 0xff), "it is cut"),
        (with(27, 0xff), "it is cut"),
        (with(28, 0xff), "it is cut"),
        (with(40, 0xff), "not UTF-8"),
        (with(40, b'\n'), "a blank or a control character"),
        (with(40, 0x1b), "a blank or a control character"),
        (with(40, b' '), "a blank or a control character"),
        (listed(&entry("")), "it has no name"),
        (listed(&entry("turned\u{202e}")), "a blank or a control character"),
    ] {
        let file = image(&[serves(), listed(&entry("a")), damaged]);
        let wanted = ["test 1", what];
        assert_says(&output(&file, &["--list"]), 125, &wanted);
    }
}

#[test]
fn a_text_of_an_entry_reaches_no_terminal_as_it_is() {
    let ignored = Entry { flags: IGNORED, reason: "\u{1b}[2Jslow\n", ..entry("a") };
    let file = image(&[serves(), listed(&ignored)]);
    // Nothing is run, but for what is before all tests.
    let output = output(&file, &[]);
    assert!(!output.stdout.contains(&0x1b));
    assert_says(&output, 1, &["the guest did not come to its tests"]);
}

#[test]
fn what_is_asked_for_wrongly_is_said() {
    let file = three();
    for (words, wanted) in [
        (&["--format", "json"][..], "there are pretty and terse"),
        (&["--test-threads", "0"], "--test-threads"),
        (&["--emit", "trace=x"], "coverage=FILE"),
        (&["--ignored", "--include-ignored"], "cannot be used with"),
    ] {
        let output = output(&file, words);
        assert_eq!(output.status.code(), Some(125));
        assert!(said::stderr(&output).contains(wanted), "{}", said::stderr(&output));
    }
}
