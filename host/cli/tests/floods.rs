//! Guests that print without an end, to readers that are slow, gone, or take nothing: the deadline
//! holds, and what the host keeps has a bound.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::elf::Elf;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A guest's code, by a function as that is no constant.
type Code = fn() -> &'static [u8];

/// Each byte an exit; strings of them; all of the window, with an exit and without one.
const FLOODS: [(&str, Code); 4] = [
    ("bytes", || code!(flood_bytes: "2: out 0xe9, al" "jmp 2b")),
    (
        "strings",
        || code!(flood_strings: "mov edx, 0xe9" "2: mov esi, 0x100000" "mov ecx, 16" "rep outsb" "jmp 2b"),
    ),
    ("windows", || {
        code!(flood_windows:
            "mov rbx, [rdi + 40]" "2: add qword ptr [rbx], 0x10000" "out 0xe8, al" "jmp 2b")
    }),
    (
        "windows without a word",
        || code!(flood_silently: "mov rbx, [rdi + 40]" "2: add qword ptr [rbx], 0x10000" "jmp 2b"),
    ),
];

/// What the host may come to, in KiB: some times its size with nothing to keep.
const BOUND: u64 = 64 << 10;

/// Beyond this it hangs. Its own limit is far below.
const DEADLINE: Duration = Duration::from_secs(10);

fn start(folder: &Path, code: &[u8], ring: &str) -> Child {
    let image = folder.join("guest");
    std::fs::write(&image, Elf::new(code).bytes()).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.arg("run").arg(image).args(["--timeout", "300ms", "--ring", ring]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("starts")
}

/// The most memory that it has had so far, in KiB (`proc_pid_status`(5)); none once it has ended.
fn peak(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Has `each` done about every 10 ms until it ends; its process code, and the most memory that it
/// had.
fn watch(mut child: Child, mut each: impl FnMut()) -> (Option<i32>, u64) {
    let (start, mut most) = (Instant::now(), 0);
    loop {
        most = most.max(peak(&child).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("waits") {
            return (status.code(), most);
        }
        if start.elapsed() > DEADLINE {
            child.kill().expect("killed");
            child.wait().expect("waits");
            return (None, most);
        }
        each();
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs all floods in both rings; `reader` is given the other end of stdout.
fn all(code: i32, mut reader: impl FnMut(std::process::ChildStdout) -> Box<dyn FnMut()>) {
    let folder = TempDir::new().expect("a folder");
    for (name, flood) in FLOODS {
        for ring in ["0", "3"] {
            let mut child = start(folder.path(), flood(), ring);
            let each = reader(child.stdout.take().expect("piped"));
            let (ended, most) = watch(child, each);
            assert_eq!(ended, Some(code), "{name}, ring {ring}");
            assert!(most > 0 && most < BOUND, "{name}, ring {ring}: {most} KiB");
        }
    }
}

#[test]
fn a_reader_that_is_slow() {
    all(124, |mut stdout| {
        let mut bytes = [0; 1024];
        Box::new(move || {
            // At its end there is nothing more to read.
            let _ = stdout.read(&mut bytes).expect("reads");
        })
    });
}

#[test]
fn a_reader_that_takes_nothing() {
    all(124, |stdout| {
        Box::new(move || {
            // Held open, and never read.
            let _ = &stdout;
        })
    });
}

#[test]
fn a_reader_that_has_gone() {
    all(141, |stdout| {
        drop(stdout);
        Box::new(|| {})
    });
}
