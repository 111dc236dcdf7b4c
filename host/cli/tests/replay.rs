//! `--emit log=FILE` and `portcall replay` from outside. All of these need KVM.

#[path = "../../tests/common/mod.rs"]
mod common;
mod said;

use common::elf::Elf;
use said::{assert_says, stderr};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// in al, 0xea; out 0xe9, al; out 0x40, al; movzx eax, al; out 0xf4, eax
const ECHO: &[u8] = &[0xe4, 0xea, 0xe6, 0xe9, 0xe6, 0x40, 0x0f, 0xb6, 0xc0, 0xe7, 0xf4];
/// rdtsc; out 0x40, eax; hlt
const CLOCK: &[u8] = &[0x0f, 0x31, 0xe7, 0x40, 0xf4];
/// mov al, 'x'; out 0xe9, al; jmp to itself
const SPIN: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfe];

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn guest(&self, name: &str, code: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, Elf::new(code).bytes()).expect("written");
        path
    }

    /// Records a guest, given its input.
    fn record(&self, code: &[u8], input: &[u8], options: &[&str]) -> (Output, PathBuf) {
        let (guest, log) = (self.guest("guest", code), self.path("log"));
        let mut command = portcall("run", &guest);
        let mut child = command
            .args(options)
            .arg(format!("--emit=log={}", log.display()))
            .stdin(Stdio::piped())
            .spawn()
            .expect("starts");
        child.stdin.take().expect("a pipe").write_all(input).expect("written");
        (child.wait_with_output().expect("ends"), log)
    }
}

fn portcall(what: &str, path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.arg(what).arg(path).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn replay(log: &Path, options: &[&str]) -> Output {
    portcall("replay", log).args(options).output().expect("starts")
}

/// The contents of a log's frames.
fn frames(log: &[u8]) -> Vec<Vec<u8>> {
    let (mut frames, mut rest) = (Vec::new(), &log[16..]);
    while let Some((size, behind)) = rest.split_first_chunk::<4>() {
        let (content, behind) = behind[8..].split_at(u32::from_le_bytes(*size) as usize);
        frames.push(content.to_vec());
        rest = behind;
    }
    frames
}

/// A log of frames, its checksums right.
fn sealed(header: &[u8], frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = header.to_vec();
    let mut sum = crc32fast::Hasher::new();
    sum.update(header);
    for frame in frames {
        let size = u32::try_from(frame.len()).expect("small").to_le_bytes();
        sum.update(&size);
        bytes.extend(size);
        bytes.extend(sum.clone().finalize().to_le_bytes());
        sum.update(frame);
        bytes.extend(sum.clone().finalize().to_le_bytes());
        bytes.extend(frame);
    }
    bytes
}

/// Changes a log's frames and makes it right again.
fn edit(log: &Path, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let bytes = std::fs::read(log).expect("a log");
    let mut frames = frames(&bytes);
    assert_eq!(sealed(&bytes[..16], &frames), bytes);
    change(&mut frames);
    std::fs::write(log, sealed(&bytes[..16], &frames)).expect("written");
}

#[test]
fn a_replay_needs_the_log_alone_and_comes_to_the_same() {
    let bench = Bench::new();
    for ring in ["0", "3"] {
        let (first, log) = bench.record(ECHO, b"*", &["--ring", ring, "--memory", "4MiB"]);
        assert_says(&first, 42, &["exited with code 42 (4 exits"]);
        std::fs::remove_file(bench.path("guest")).expect("it was there");
        let again = replay(&log, &[]);
        assert_says(
            &again,
            42,
            &["exited with code 42 (4 exits", "the same as recorded, in all 4"],
        );
        assert_eq!((again.stdout, first.stdout), (b"*".to_vec(), b"*".to_vec()));
        assert_says(&replay(&log, &["--quiet", "--expect", "rax=42"]), 42, &[]);
        assert_says(&replay(&log, &["--expect", "rax=41"]), 121, &["it is 42 (0x2a)"]);
        let json = replay(&log, &["--quiet", "--emit", "json"]);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout[1..]).expect("JSON");
        assert_eq!((&json["end"]["code"], &json["code"]), (&42.into(), &42.into()));
        assert_says(&replay(&log, &["--steps", "--stats", "--backtrace"]), 42, &["KVM_RUN"]);
    }
}

#[test]
fn another_answer_makes_the_guest_diverge_and_the_report_says_where() {
    let bench = Bench::new();
    let (_, log) = bench.record(ECHO, b"*", &[]);
    edit(&log, |frames| {
        // The entry of the IN ends with what it gave: one byte, '*', and that it ended nothing.
        let given = &mut frames[2];
        let at = given.len() - 2;
        assert_eq!(given[at..], *b"*\0");
        given[at] = b'+';
    });
    let output = replay(&log, &[]);
    assert_says(
        &output,
        121,
        &[
            "error: the replay diverged from its recording, at exit 2",
            "= expected: out port 0xe9 (console), 1 byte: 0x2a",
            "= actual:   out port 0xe9 (console), 1 byte: 0x2b",
            "the image has no RDTSC, RDTSCP, RDRAND or RDSEED",
            "backtrace:\n   0: 0x100004",
            "ended as diverged, process code 121 (2 exits",
        ],
    );
    let json = replay(&log, &["--emit", "json", "--quiet"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["end"]["name"], "diverged");
    assert_eq!(json["end"]["actual"], "out port 0xe9 (console), 1 byte: 0x2b");
    // Another guest under the same log.
    let (_, log) = bench.record(ECHO, b"*", &[]);
    edit(&log, |frames| frames[0] = Elf::new(SPIN).bytes());
    let words = ["expected: in port 0xea (input), 1 byte", "actual:   out port 0xe9"];
    assert_says(&replay(&log, &[]), 121, &words);
    edit(&log, |frames| frames[0] = b"no ELF file".to_vec());
    assert_says(&replay(&log, &[]), 125, &["the guest in it cannot be replayed", "not an ELF"]);
}

#[test]
fn a_guest_that_asks_its_processor_diverges_and_is_told_so() {
    let bench = Bench::new();
    let (first, log) = bench.record(CLOCK, b"", &[]);
    assert_says(&first, 0, &[]);
    let words = [
        "expected: out port 0x40, 4 bytes: 0x",
        "what its processor gives a guest is not recorded, here by RDTSC at 0x100000",
    ];
    assert_says(&replay(&log, &[]), 121, &words);
}

#[test]
fn a_limit_ends_a_replay_at_once_and_with_its_own_code() {
    let bench = Bench::new();
    let (first, log) = bench.record(SPIN, b"", &["--timeout", "1500ms"]);
    assert_says(&first, 124, &["ran longer than its limit of 1.5s"]);
    let start = Instant::now();
    let again = replay(&log, &[]);
    assert!(start.elapsed() < Duration::from_millis(1200), "{:?}", start.elapsed());
    assert_says(&again, 124, &["ran longer than its limit of 1.5s", "the same as recorded"]);
    assert_eq!((again.stdout, first.stdout), (b"x".to_vec(), b"x".to_vec()));
    // Its own limit is for a guest that does nothing any more where the recorded one did.
    let (_, log) = bench.record(ECHO, b"*", &[]);
    edit(&log, |frames| frames[0] = Elf::new(&[0xeb, 0xfe]).bytes());
    let output = replay(&log, &["--timeout", "300ms"]);
    assert_says(&output, 124, &["ran longer than its limit of 300ms"]);
    assert!(!stderr(&output).contains("same as recorded"));
}

#[test]
fn what_is_no_log_and_what_is_left_of_one() {
    let bench = Bench::new();
    let says = |path: &Path, words: &[&str]| assert_says(&replay(path, &[]), 125, words);
    says(Path::new("/nonexistent/log"), &["cannot read /nonexistent/log", "--emit log=FILE"]);
    says(bench.0.path(), &["is no plain file"]);
    says(Path::new("/dev/zero"), &["is no plain file"]);
    says(&bench.guest("guest", ECHO), &["guest: this is no log of a run (it starts with [7f, 45"]);
    let (_, log) = bench.record(ECHO, b"*", &[]);
    let whole = std::fs::read(&log).expect("a log");
    let with = |bytes: &[u8]| std::fs::write(&log, bytes).expect("written");
    with(b"");
    says(&log, &["this is no log of a run"]);
    with(&whole[..100]);
    says(&log, &["the log ends at byte 16, before its first entry"]);
    let mut bytes = whole.clone();
    bytes[8] = 9;
    with(&bytes);
    says(&log, &["format version 9, this portcall reads version 3"]);
    let mut bytes = whole.clone();
    bytes[200] ^= 4;
    with(&bytes);
    says(&log, &["the log is damaged at byte 16: its checksum is wrong there"]);
    // Without its last entry, and without more.
    with(&whole[..whole.len() - 1]);
    says(&log, &["was not completed: it ends at byte", "in its end, the guest has done the same"]);
    // With something behind it, and with a length that is another.
    with(&whole.repeat(2));
    let at = format!("the log is damaged at byte {}: something stands behind", whole.len());
    says(&log, &[&at]);
    let mut bytes = whole.clone();
    bytes[17] ^= 1;
    with(&bytes);
    says(&log, &["the log is damaged at byte 16"]);
    let exits = frames(&whole).len() - 5;
    let cut = sealed(&whole[..16], &frames(&whole)[..exits]);
    with(&cut);
    let at = format!("was cut short at byte {}", cut.len());
    says(&log, &[&at, "up to there the guest has done the same", "ended as stopped"]);
}

#[test]
fn nothing_that_a_log_says_of_itself_makes_an_abnormal_end_good() {
    let bench = Bench::new();
    let (guest, log) = (bench.guest("guest", SPIN), bench.path("log"));
    let mut command = portcall("run", &guest);
    let child = command.arg(format!("--emit=log={}", log.display())).spawn().expect("starts");
    std::thread::sleep(Duration::from_millis(500));
    let pid = i32::try_from(child.id()).expect("a pid");
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(pid, libc::SIGINT) };
    let output = child.wait_with_output().expect("ends");
    assert_says(&output, 130, &["interrupted by SIGINT"]);
    assert_says(&replay(&log, &[]), 130, &["the same as recorded"]);
    // What stopped it, and an end that is not in it.
    let close = |to: &[u8]| {
        edit(&log, |frames| {
            let last = frames.last_mut().expect("an end");
            last.truncate(1);
            last.extend(to);
        });
    };
    close(&[0]);
    assert_says(&replay(&log, &[]), 128, &["the same as recorded"]);
    close(&[1, 0]);
    assert_says(&replay(&log, &[]), 125, &["there is no such signal"]);
    close(&[0]);
    edit(&log, |frames| drop(frames.remove(frames.len() - 2)));
    assert_says(&replay(&log, &[]), 125, &["ends before its run does"]);
}

#[test]
fn a_log_that_has_much_done_ends_at_a_timeout_of_the_replays() {
    let bench = Bench::new();
    let (_, log) = bench.record(ECHO, b"*", &[]);
    edit(&log, |frames| {
        // An entry of the host's own reads, 64 KiB each of nothing but zeros, behind the first exit.
        let sum = crc32fast::hash(&[0; 65536]);
        let mut varint = Vec::new();
        let mut left = sum;
        while left > 0x7f {
            varint.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
            left >>= 7;
        }
        varint.push(u8::try_from(left).expect("seven bits"));
        // Read; at 0x800000; 0x10000 bytes; the sum; no start.
        let read = [&[0, 0x80, 0x80, 0x80, 0x04, 0x80, 0x80, 0x04], &varint[..], &[0]].concat();
        let between = [&[1, 0xff, 0xff, 0x03][..], &read.repeat(0xffff)].concat();
        for _ in 0..64 {
            frames.insert(3, between.clone());
        }
    });
    let start = Instant::now();
    let output = replay(&log, &["--timeout", "300ms"]);
    assert_says(&output, 124, &["ran longer than its limit of 300ms"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn where_a_log_cannot_go() {
    let bench = Bench::new();
    let guest = bench.guest("guest", ECHO);
    let says = |emit: &str, code: i32, words: &[&str]| {
        let output = portcall("run", &guest).args(["--emit", emit]).output().expect("starts");
        assert_says(&output, code, words);
    };
    says("log", 125, &["stdout has the guest's text: name a file, log=FILE"]);
    says("log=-", 125, &["stdout has the guest's text"]);
    says("log=", 125, &["names no file"]);
    says(&format!("log={}", guest.display()), 125, &["is what is to be run; name another file"]);
    let one = format!("log={}", bench.path("one").display());
    let mut command = portcall("run", &guest);
    command.args(["--emit", &one, "--emit", "log=/dev/null"]);
    let output = command.output().expect("starts");
    assert_says(&output, 125, &["a run is recorded once; name one log"]);
    // The same file by way of the shell.
    let path = bench.path("both");
    let stdout = std::fs::File::create(&path).expect("created");
    let emit = format!("log={}", path.display());
    let mut command = portcall("run", &guest);
    let output = command.args(["--emit", &emit]).stdout(stdout).output().expect("starts");
    assert_says(&output, 125, &["both: stdout goes there as well"]);
    says("log=/nonexistent/log", 125, &["cannot create /nonexistent/log"]);
    // The run itself is not the worse for it: its report comes first.
    says("log=/dev/full", 125, &["exited with code", "cannot write /dev/full: No space left"]);
    let (_, log) = bench.record(ECHO, b"*", &[]);
    let emit = format!("json={}", log.display());
    assert_says(&replay(&log, &["--emit", &emit]), 125, &["is what is to be run"]);
    let emit = format!("log={}", bench.path("other").display());
    assert_says(&replay(&log, &["--emit", &emit]), 125, &["nothing to record"]);
}

#[test]
fn a_recording_that_is_killed_can_be_replayed_up_to_there() {
    let bench = Bench::new();
    let (guest, log) = (bench.guest("guest", SPIN), bench.path("log"));
    let mut command = portcall("run", &guest);
    let mut child = command.arg(format!("--emit=log={}", log.display())).spawn().expect("starts");
    // Ticks come every 100 ms.
    std::thread::sleep(Duration::from_secs(1));
    child.kill().expect("it runs");
    assert_eq!(child.wait().expect("ends").signal(), Some(9));
    let output = replay(&log, &[]);
    assert_says(
        &output,
        125,
        &["was cut short at byte", "was killed, failed, or had no more room"],
    );
    assert_eq!(output.stdout, b"x");
}
