//! The jail of the binary, from outside: that it is there while a guest runs, that it refuses
//! nothing that a run needs, and what it does to what a run shows.

#[path = "../../tests/common/mod.rs"]
mod common;
mod refused;
mod said;
#[expect(dead_code, reason = "the ioctls are counted in other tests")]
mod tracer;

use common::elf::Elf;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use refused::assert_nothing_refused;
use said::{assert_says, stderr};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// mov al, 'H'; out 0xe9, al; xor eax, eax; out 0xf4, eax
const HELLO: &[u8] = &[0xb0, b'H', 0xe6, 0xe9, 0x31, 0xc0, 0xe7, 0xf4];
/// mov al, 'x'; out 0xe9, al; jmp to itself
const SPIN: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfe];
/// in al, 0xea; out 0xe9, al; movzx eax, al; out 0xf4, eax
const ECHO: &[u8] = &[0xe4, 0xea, 0xe6, 0xe9, 0x0f, 0xb6, 0xc0, 0xe7, 0xf4];
/// out 0xe9, al; jmp back
const FLOOD: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfc];

/// mov eax, NUMBER; xor esi, esi; out 0xf7, eax; xor eax, eax; out 0xf4, eax
fn ready() -> Vec<u8> {
    let interface = portcall::abi::host::INTERFACE;
    let number = interface.number(interface.place("ready")).to_le_bytes();
    [&[0xb8], &number[..], &[0x31, 0xf6, 0xe7, 0xf7, 0x31, 0xc0, 0xe7, 0xf4]].concat()
}

/// A guest that divides by zero, in line 3.
const DIVIDES: &str = "\
volatile int zero, result;
void _start(void) {
    result = 100 / zero;
}
";

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        // As the kernel has it, with links resolved.
        self.0.path().canonicalize().expect("is there").join(name)
    }

    fn guest(&self, name: &str, code: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, Elf::new(code).bytes()).expect("written");
        path
    }

    /// The guest in C, with its debug information, in `directory`.
    fn divides(&self, directory: &str) -> PathBuf {
        std::fs::create_dir_all(self.path(directory)).expect("made");
        let source = self.path("divides.c");
        std::fs::write(&source, DIVIDES).expect("written");
        let image = self.path(directory).join("divides");
        let mut cc = Command::new("cc");
        cc.args(["-static", "-nostdlib", "-ffreestanding", "-mgeneral-regs-only", "-g", "-O1"]);
        let built = cc.arg("-o").arg(&image).arg(&source).status();
        let remedy = "this test needs a C compiler (apt-get install gcc libc6-dev)";
        assert!(built.expect(remedy).success(), "{remedy}");
        image
    }
}

fn portcall<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(image: &Path, options: &[&str]) -> Command {
    let mut command = portcall(["run"]);
    command.arg(image).args(options);
    command
}

/// What goes along with a run, alone and with a snapshot, and what it reads at the end.
#[cfg(feature = "instruments")]
fn assert_instruments_are_refused_nothing(bench: &Bench) {
    let divides = bench.divides("target");
    let emit = |kind: &str, name: &str| format!("--emit={kind}={}", bench.path(name).display());
    let of = format!("--coverage-of={}", bench.path("").display());
    let (svg, folded) = (emit("profile", "a.svg"), emit("profile", "a.folded"));
    let (lcov, page) = (emit("coverage", "a.info"), emit("coverage", "a.html"));
    for ring in ["--ring=0", "--ring=3"] {
        assert_nothing_refused(
            "profile",
            run(&divides, &[ring, &svg, "--profile-rate=10000"]),
            139,
        );
        let html = emit("report", "run.html");
        assert_nothing_refused("report", run(&divides, &[ring, &html]), 139);
        assert_nothing_refused("coverage", run(&divides, &[ring, &lcov, &page, &of, &folded]), 139);
    }
    let ready = bench.guest("ready-profiled", &ready());
    let kept = emit("snapshot", "kept-profiled");
    assert_nothing_refused("profile and snapshot", run(&ready, &[&kept, &folded]), 0);
}

#[cfg(not(feature = "instruments"))]
const fn assert_instruments_are_refused_nothing(_: &Bench) {}

#[test]
fn no_kind_of_run_makes_a_call_that_is_refused() {
    let bench = Bench::new();
    let hello = bench.guest("hello", HELLO);
    let text = |name: &str| bench.path(name).display().to_string();
    let emit = |kind: &str| format!("--emit={kind}={}", text(kind));
    std::fs::write(bench.path("golden"), "H").expect("written");
    let golden = format!("--expect=output={}", text("golden"));
    let (json, core, log) = (emit("json"), emit("core"), emit("log"));
    let trace = emit("trace");
    let kinds: [(&[&str], i32); 10] = [
        (&[], 0),
        (&["--steps", "--stats", "--backtrace"], 0),
        (&["--emit=json", "--quiet"], 0),
        (&[&json, &core], 0),
        (&[&core, "--memory=63GiB"], 0),
        (&["--ring=3", &golden, "--expect=mem.u8[0x100000]=0xb0"], 0),
        (&["--expect=rax=1"], 121),
        (&[&log, "--allow=Host", "--allow=HostAddress"], 0),
        (&["--emit=json=/dev/full"], 125),
        (&[&trace, "--emit=trace", "--ring=3"], 0),
    ];
    for (options, code) in kinds {
        assert_nothing_refused(&format!("{options:?}"), run(&hello, options), code);
    }
    assert_nothing_refused("replay", portcall(["replay", &text("log"), "--stats"]), 0);
    assert_instruments_are_refused_nothing(&bench);
    let ready = bench.guest("ready", &ready());
    let (kept, older) = (emit("snapshot"), emit("snapshot"));
    assert_nothing_refused("kept", run(&ready, &[&kept, &json, &core]), 0);
    assert_nothing_refused("kept again", run(&ready, &[&older, "--ring=3", "--stats"]), 0);
    assert_nothing_refused("gone on", run(&bench.path("snapshot"), &["--stats"]), 0);
    assert_nothing_refused("never kept", run(&hello, &[&kept]), 125);
    let mut divides = run(&bench.divides("."), &[&core]);
    divides.current_dir(bench.path("."));
    assert_nothing_refused("divides", divides, 139);
    let spin = bench.guest("spin", SPIN);
    assert_nothing_refused("spin", run(&spin, &["--timeout=300ms", &log]), 124);
    let flood = bench.guest("flood", FLOOD);
    assert_nothing_refused("flood", run(&flood, &["--timeout=300ms", &trace]), 124);
    let echo = bench.guest("echo", ECHO);
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut piped = run(&echo, &[]);
    piped.stdin(reader);
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        writer.write_all(b"\x07")
    });
    assert_nothing_refused("piped", piped, 7);
    late.join().expect("ends").expect("written");
}

#[test]
fn a_terminal_and_signals_need_nothing_that_is_refused() {
    let bench = Bench::new();
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut coloured = run(&bench.guest("hello", HELLO), &["--stats", "--expect=rax=1"]);
    coloured.stdin(terminal.slave.try_clone().expect("a copy"));
    // Seen from outside by what stands in it.
    coloured.stdout(terminal.slave.try_clone().expect("a copy")).stderr(terminal.slave);
    assert_eq!(coloured.status().expect("starts").code(), Some(121));
    let spin = bench.guest("spin", SPIN);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut child = run(&spin, &[]).spawn().expect("starts");
        let mut byte = [0];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        // Stopped and continued on the way, as by Ctrl-Z and fg.
        for signal in [Signal::SIGSTOP, Signal::SIGCONT, signal] {
            kill(pid, signal).expect("there");
            std::thread::sleep(Duration::from_millis(50));
        }
        let output = child.wait_with_output().expect("ends");
        assert_says(&output, code, &["interrupted by SIG"]);
    }
}

/// A line of /proc/PID/status.
fn status(pid: u32, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

#[test]
fn while_a_guest_runs_the_process_is_confined_unless_it_is_not_to_be() {
    let bench = Bench::new();
    let spin = bench.guest("spin", SPIN);
    let log = format!("--emit=log={}", bench.path("log").display());
    let recorded = run(&spin, &[&log, "--timeout=300ms"]).output().expect("starts");
    assert_says(&recorded, 124, &[]);
    let recorded = bench.path("log");
    let replay = |options: &[&str]| {
        let mut command = portcall(["replay"]);
        command.arg(&recorded).args(options);
        command
    };
    for (mut command, filter, privileges) in [
        (run(&spin, &[]), "2", "1"),
        (run(&spin, &["--no-jail"]), "0", "0"),
        (replay(&[]), "2", "1"),
        (replay(&["--no-jail"]), "0", "0"),
    ] {
        let mut child = command.spawn().expect("starts");
        let mut byte = [0];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("runs");
        let found = ["Seccomp", "NoNewPrivs"].map(|key| status(child.id(), key));
        child.kill().expect("there");
        child.wait().expect("ends");
        assert_eq!(found, [filter, privileges].map(|it| Some(it.to_owned())), "{command:?}");
    }
}

#[test]
fn lines_of_source_are_shown_from_here_and_from_the_images_workspace_only() {
    let bench = Bench::new();
    let line = "result = 100 / zero";
    let shows = |image: &Path, directory: &Path, home: &Path, options: &[&str]| {
        let mut command = run(image, options);
        // Cargo's crates are not in question here.
        command.current_dir(directory).env("HOME", home).env_remove("CARGO_HOME");
        let output = command.output().expect("starts");
        assert_says(&output, 139, &["divides.c:3"]);
        stderr(&output).contains(line)
    };
    let (here, elsewhere) = (bench.path("."), Path::new("/"));
    let home = Path::new("/nonexistent");
    let image = bench.divides("images");
    assert!(shows(&image, &here, home, &[]));
    assert!(!shows(&image, elsewhere, home, &[]));
    assert!(shows(&image, elsewhere, home, &["--no-jail"]));
    // A home directory is not read because one is in it, nor is what is above.
    assert!(!shows(&image, &here, &here, &[]));
    assert!(!shows(&image, &here, &bench.path("images"), &[]));
    let built = bench.divides("target/release");
    assert!(!shows(&built, elsewhere, home, &[]));
    std::fs::write(bench.path("Cargo.toml"), "").expect("written");
    assert!(shows(&built, elsewhere, home, &[]));
}

#[test]
fn a_jail_that_cannot_be_entered_is_an_error_and_not_a_run_without() {
    let bench = Bench::new();
    let hello = bench.guest("hello", HELLO);
    let limited = |files: u32| {
        let program = env!("CARGO_BIN_EXE_portcall");
        let script = format!("ulimit -n {files}; exec {program} run {}", hello.display());
        Command::new("sh").arg("-c").arg(script).output().expect("starts")
    };
    // With each file more it gets further; the jail takes its own last, and gives them back.
    let mut refused = 0;
    for output in (4..24).map(limited) {
        match output.status.code() {
            Some(0) => assert_eq!(output.stdout, b"H"),
            // The dynamic linker has not even got so far.
            Some(127) => {}
            _ => assert_says(&output, 125, &["error: ", "Too many open files"]),
        }
        refused += u32::from(stderr(&output).contains("cannot enter the jail: "));
        if stderr(&output).contains("cannot enter the jail: ") {
            assert_says(&output, 125, &["raise ulimit -n"]);
            assert!(!stderr(&output).contains("--no-jail"), "{}", stderr(&output));
            assert_eq!(output.stdout, b"");
        }
    }
    assert!(refused > 0, "a limit of files has to stop it there at some point");
}
