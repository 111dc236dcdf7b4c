//! The command line from outside: what it takes, says, and ends with.

#[path = "../../tests/common/mod.rs"]
mod common;
mod said;

use common::elf::{Elf, data};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcall::abi;
use said::{assert_says, stderr};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// mov al, 'H'; out 0xe9, al; xor eax, eax; out 0xf4, eax
const HELLO: &[u8] = &[0xb0, b'H', 0xe6, 0xe9, 0x31, 0xc0, 0xe7, 0xf4];
/// mov eax, 42; hlt
const HALT: &[u8] = &[0xb8, 42, 0, 0, 0, 0xf4];
/// jmp to itself
const SPIN: &[u8] = &[0xeb, 0xfe];
/// out 0xe9, al; jmp back
const FLOOD: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfc];

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder") }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn guest(&self, code: &[u8]) -> PathBuf {
        self.file("guest", &Elf::new(code).bytes())
    }
}

fn portcall<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(image: &Path, options: &[&str]) -> Output {
    let mut command = portcall(["run"]);
    command.arg(image).args(options).output().expect("starts")
}

#[test]
fn the_guests_text_is_stdout_and_ours_is_stderr() {
    let bench = Bench::new();
    let output = run(&bench.guest(HELLO), &[]);
    assert_eq!(output.stdout, b"H");
    assert_says(&output, 0, &["portcall: exited with code 0 (2 exits"]);
    // In a pipe there are no colours.
    assert!(!stderr(&output).contains('\x1b'));
    let quiet = run(&bench.guest(HELLO), &["--quiet"]);
    assert_eq!((quiet.stdout.as_slice(), quiet.stderr.as_slice()), (&b"H"[..], &b""[..]));
}

#[test]
fn wrong_command_lines_are_ours() {
    let bench = Bench::new();
    let guest = bench.guest(HELLO);
    let says = |options: &[&str], words: &[&str]| assert_says(&run(&guest, options), 125, words);
    says(&["--frobnicate"], &["--frobnicate"]);
    says(&["--memory", "lots"], &["--memory"]);
    says(&["--timeout", "soon"], &["--timeout"]);
    says(&["--expect", "rax"], &["KEY=VALUE"]);
    says(&["--emit", "xml"], &["xml cannot be emitted; there are json, core, log, snapshot"]);
    says(&["--emit", "json="], &["names no file"]);
    assert_says(&portcall(["fly"]).output().expect("starts"), 125, &["fly"]);
    assert_eq!(portcall(["--help"]).output().expect("starts").status.code(), Some(0));
    assert_eq!(portcall(["--version"]).output().expect("starts").status.code(), Some(0));
}

#[test]
fn files_that_are_no_guests() {
    let bench = Bench::new();
    let says = |path: &Path, words: &[&str]| assert_says(&run(path, &[]), 125, words);
    says(Path::new("/nonexistent/guest"), &["cannot read /nonexistent/guest", "No such file"]);
    says(bench.folder.path(), &["is a directory"]);
    says(Path::new("/dev/zero"), &["no regular file"]);
    says(&bench.file("empty", b""), &["empty: the image is empty"]);
    says(&bench.file("text", b"hello"), &["not an ELF file"]);
    // This very test: position-independent and dynamically linked.
    says(&std::env::current_exe().expect("a path"), &["dynamically linked"]);
}

#[test]
fn memory_that_cannot_be() {
    let bench = Bench::new();
    let guest = bench.guest(HALT);
    let says = |memory: &str, words: &[&str]| {
        assert_says(&run(&guest, &["--memory", memory]), 125, words);
    };
    says("0", &["memory of 0 bytes", "at least 1 MiB"]);
    says("1048577", &["not whole pages"]);
    says("4KiB", &["too small"]);
    says("1PiB", &["more than a guest can address", "63 GiB"]);
    says("1MiB", &["guest-physical 0x100000", "at least 2 MiB"]);
    let bss = Elf::new(HALT).with(common::elf::Ph { filesz: 0, ..data(0x20_0000, 4 << 30) }, &[]);
    let output = run(&bench.file("bss", &bss.bytes()), &[]);
    assert_says(&output, 125, &["wants 0x100000000 bytes", "make its data smaller"]);
    // A limit of the process's own.
    let mut command = Command::new("sh");
    let script = format!(
        "ulimit -v 1000000; exec {} run {} --memory 8GiB",
        env!("CARGO_BIN_EXE_portcall"),
        guest.display()
    );
    let output = command.arg("-c").arg(script).output().expect("starts");
    assert_says(&output, 125, &["the host cannot map 8589934592 bytes", "ulimit -v"]);
    assert_says(&run(&guest, &["--memory", "8GiB"]), 0, &["halted"]);
}

#[test]
fn expectations_met_and_not() {
    let bench = Bench::new();
    let guest = bench.guest(HALT);
    let met = ["--expect", "rax=0x2a", "--expect", "end=halted", "--expect", "exits.hlt=1"];
    assert_says(&run(&guest, &met), 0, &["halted"]);
    let output = run(&guest, &["--expect", "rax=41", "--expect", "exits>5", "--expect", "rax=42"]);
    assert_says(
        &output,
        121,
        &["expected rax=41, but it is 42 (0x2a)", "expected exits>5, but it is 1"],
    );
    let output = run(&guest, &["--expect", "mem.u64[0x100000]=0xf40000002ab8"]);
    assert_says(&output, 0, &[]);
    let output = run(&guest, &["--expect", "mem.u8[NOWHERE]=1"]);
    assert_says(&output, 121, &["NOWHERE is neither an address", "no_mangle"]);
    let output = run(&guest, &["--expect", "mem.u8[0x0]=1"]);
    assert_says(&output, 121, &["guest-virtual 0x0 is not mapped"]);
    let hello = bench.file("hello", &Elf::new(HELLO).bytes());
    let (good, bad) = (bench.file("good", b"H"), bench.file("bad", b"Hello"));
    let output = run(
        &hello,
        &["--expect", &format!("output={}", good.display()), "--expect", "exits.port[0xe9]<=1"],
    );
    assert_says(&output, 0, &[]);
    let output = run(&hello, &["--expect", &format!("output={}", bad.display())]);
    assert_says(&output, 121, &["it differs from byte 1 on, in line 1"]);
}

#[test]
fn json_says_what_the_run_came_to() {
    let bench = Bench::new();
    let guest = bench.guest(HALT);
    let file = bench.folder.path().join("run.json");
    let output = run(&guest, &["--emit", &format!("json={}", file.display()), "--quiet"]);
    assert_says(&output, 0, &[]);
    let text = std::fs::read_to_string(&file).expect("written");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["end"]["name"], "halted");
    assert_eq!(json["registers"]["rax"], "0x2a");
    assert_eq!(json["exits"]["by_kind"]["hlt"], 1);
    assert_eq!(json["code"], 0);
    let output = run(&guest, &["--emit", "json", "--quiet", "--expect", "rax=1"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["unmet_expectations"][0]["expected"], "rax=1");
    assert_eq!(json["code"], 121);
    let output = run(&guest, &["--emit", "json=/nonexistent/file"]);
    assert_says(&output, 125, &["cannot create /nonexistent/file"]);
    let output = run(&guest, &["--emit", "json=/dev/full"]);
    assert_says(&output, 125, &["cannot write /dev/full", "No space left"]);
}

#[test]
fn stats_and_steps_agree_with_what_the_guest_does() {
    let bench = Bench::new();
    let output = run(&bench.guest(HELLO), &["--stats", "--steps"]);
    let text = stderr(&output);
    for words in ["KVM_CREATE_VM", "KVM_SET_TSS_ADDR", "0xfffbd000", "PML4[0]", "KVM_GET_REGS"] {
        assert!(text.contains(words), "{text}");
    }
    let row = |first: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(first));
        line.unwrap_or_default().split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("out"), ["2"]);
    assert_eq!(row("all"), ["2"]);
    assert_eq!(row("0xe9"), ["0", "1", "1"]);
    assert_eq!(row("0xf4"), ["0", "1", "4"]);
    assert_eq!(row("console"), ["bytes", "1"]);
}

/// A guest that ends with the result of one call: mov eax, NUMBER; out 0xf7, eax; out 0xf4, al
fn calls(number: u32) -> Vec<u8> {
    let number = number.to_le_bytes();
    [&[0xb8], &number[..], &[0xe7, 0xf7, 0xe6, 0xf4]].concat()
}

#[test]
fn a_guest_gets_the_stock_interfaces_that_it_is_allowed() {
    let bench = Bench::new();
    let exits = bench.guest(&calls(abi::host::INTERFACE.number(2)));
    for options in [&[][..], &["--allow", "Host"], &["--allow", "HostAddress", "--allow", "Host"]] {
        assert_says(&run(&exits, options), 1, &["exited with code 1 (2 exits"]);
    }
    // The image has no notes, so what the guest was not given is known by its number alone.
    for options in [&["--allow", "none"][..], &["--allow", "HostAddress"]] {
        let words = [
            "call refused: Host::exits: this VM was not given the interface",
            "to give it to the guest: --allow Host,",
        ];
        assert_says(&run(&exits, options), 123, &words);
    }
    let unknown =
        bench.file("unknown", &Elf::new(&calls(abi::host::INTERFACE.number(200))).bytes());
    assert_says(&run(&unknown, &["--allow=none"]), 123, &["call refused: Host::200: "]);
    let foreign = bench.file("foreign", &Elf::new(&calls(0x1234_5600)).bytes());
    assert_says(
        &run(&foreign, &[]),
        123,
        &["call refused: call 0x12345600: ", "of yours is answered"],
    );
    let address = bench.guest(&calls(abi::host_address::INTERFACE.number(0)));
    assert_says(&run(&address, &[]), 123, &["HostAddress::host_address", "--allow HostAddress,"]);
    // RDI is still that of the entry, the boot information's address: Some.
    assert_says(&run(&address, &["--allow", "HostAddress"]), 1, &["exited with code 1"]);
    // Lab is given by default, and refuses an image that does not note it by its own words.
    let ticks = bench.guest(&calls(abi::lab::INTERFACE.number(3)));
    assert_says(&run(&ticks, &[]), 123, &["Lab::end: no measurement has begun"]);
    assert_says(
        &run(&ticks, &["--allow", "Host"]),
        123,
        &["to give it to the guest: --allow Lab,"],
    );
    // Which of them was meant is not for us to guess.
    for options in [["--allow=none", "--allow=Host"], ["--allow=HostAddress", "--allow=none"]] {
        let words = ["error: --allow none allows nothing, but another --allow does; leave one out"];
        assert_says(&run(&exits, &options), 125, &words);
    }
    let words = ["possible values: Host, HostAddress, Lab, Span, none"];
    assert_says(&run(&exits, &["--allow", "Hosts"]), 125, &words);
    assert_says(&run(&exits, &["--emit", "json", "--allow", "none", "--quiet"]), 123, &[]);
}

#[test]
fn a_long_log_is_cut_on_the_terminal_as_the_help_says() {
    let bench = Bench::new();
    // mov edi, 3; mov esi, 0x100017; mov edx, 1100; mov eax, Host::log; out 0xf7, eax; hlt
    let log = abi::host::INTERFACE.number(7).to_le_bytes();
    let words = [&[0xbf, 3, 0, 0, 0, 0xbe, 0x17, 0, 0x10, 0, 0xba, 0x4c, 4, 0, 0, 0xb8], &log[..]];
    let guest = [&words.concat()[..], &[0xe7, 0xf7, 0xf4], &[b'x'; 1100]].concat();
    let shown = format!(": {}...\n", "x".repeat(1000));
    assert_says(&run(&bench.guest(&guest), &[]), 0, &["guest ", &shown]);

    let help = portcall(["run", "--help"]).output().expect("starts");
    let help = String::from_utf8_lossy(&help.stdout).replace("\n          ", " ");
    assert!(help.contains("16 lines are shown, and 1000 characters of each"), "{help}");
}

fn start(image: &Path, options: &[&str]) -> Child {
    portcall(["run"]).arg(image).args(options).spawn().expect("starts")
}

/// Waits until the guest has shown its first byte.
fn first_byte(child: &mut Child) -> u8 {
    let mut byte = [0];
    child.stdout.as_mut().expect("piped").read_exact(&mut byte).expect("a byte");
    byte[0]
}

#[test]
fn ctrl_c_and_sigterm_stop_a_guest_and_show_where_it_was() {
    let bench = Bench::new();
    // It prints and spins: the text appears while it spins.
    let code = [&[0xb0, b'>', 0xe6, 0xe9][..], SPIN].concat();
    let guest = bench.guest(&code);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut child = start(&guest, &[]);
        assert_eq!(first_byte(&mut child), b'>');
        kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("sent");
        let output = child.wait_with_output().expect("ends");
        assert_says(&output, code, &["stopped by the host", "rip 0x0000000000100004"]);
    }
}

#[test]
fn ctrl_c_reaches_a_guest_that_waits_for_input() {
    let bench = Bench::new();
    // It prints, and reads its input.
    let guest = bench.guest(&[0xb0, b'>', 0xe6, 0xe9, 0xe5, 0xea, 0xf4]);
    let mut child = portcall(["run"]).arg(&guest).stdin(Stdio::piped()).spawn().expect("starts");
    assert_eq!(first_byte(&mut child), b'>');
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGINT).expect("sent");
    let input = child.stdin.take();
    assert_says(&child.wait_with_output().expect("ends"), 130, &["stopped by the host"]);
    drop(input);
}

#[test]
fn a_deadline_holds_for_spinning_and_flooding_guests() {
    let bench = Bench::new();
    for (name, code) in [("spin", SPIN), ("flood", FLOOD)] {
        let guest = bench.file(name, &Elf::new(code).bytes());
        let start = Instant::now();
        let output = run(&guest, &["--timeout", "200ms"]);
        assert_says(&output, 124, &["ran longer than its limit of 200ms"]);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let bench = Bench::new();
    let mut child = start(&bench.guest(FLOOD), &[]);
    first_byte(&mut child);
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(141), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn what_a_parent_has_closed_is_no_place_for_our_files() {
    let bench = Bench::new();
    let guest = bench.guest(HELLO);
    // The image would be stdin, and KVM stdout and stderr.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" run \"$1\" <&- >&- 2>&-", env!("CARGO_BIN_EXE_portcall")]);
    let status = shell.arg(&guest).status().expect("starts");
    assert_eq!(status.code(), Some(0));
    assert_says(&run(&guest, &[]), 0, &["portcall: exited with code 0 (2 exits"]);
}

#[test]
fn a_full_disk_is_said() {
    let bench = Bench::new();
    let full = File::options().write(true).open("/dev/full").expect("opens");
    let output = portcall(["run"]).arg(bench.guest(HELLO)).stdout(full).output().expect("starts");
    assert_says(&output, 125, &["cannot write the guest's output to stdout", "No space left"]);
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_up_a_deadline() {
    let bench = Bench::new();
    let start_time = Instant::now();
    // The pipe stays open and full.
    let mut child = start(&bench.guest(FLOOD), &["--timeout", "300ms"]);
    let status = loop {
        if let Some(status) = child.try_wait().expect("waits") {
            break status;
        }
        assert!(start_time.elapsed() < Duration::from_secs(10), "it hangs");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(124));
}

#[test]
fn stderr_that_is_gone_changes_nothing() {
    let bench = Bench::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = portcall(["run"]).arg(bench.guest(HELLO)).stderr(writer).output().expect("starts");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"H"[..]));
}

#[test]
fn input_reaches_the_guest() {
    let bench = Bench::new();
    // in eax, 0xea; out 0xf4, eax
    let guest = bench.guest(&[0xe5, 0xea, 0xe7, 0xf4]);
    let mut child = portcall(["run"]).arg(&guest).stdin(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(b"\x07more").expect("written");
    assert_eq!(child.wait().expect("ends").code(), Some(7));
    // At its end all ones, which is no exit code that fits.
    assert_says(&run(&guest, &[]), 120, &["exited with code 4294967295"]);
}

#[test]
fn doctor_says_that_this_machine_is_well() {
    let output = portcall(["doctor"]).output().expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let kvm = ["/dev/kvm can be opened", "KVM API version 12", "a trial guest ran and was right"];
    for words in kvm.into_iter().chain(["seccomp: the jail keeps", "Landlock"]) {
        assert!(text.contains(words), "{text}");
    }
}

/// A pipe that is full, and its other end.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
    while writer.write(&[0; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("set");
    (reader, writer)
}

/// How it ended, if it did within 10 seconds.
fn ended(mut child: Child) -> Option<std::process::ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if let Some(status) = child.try_wait().expect("waits") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("killed");
    child.wait().expect("waits");
    None
}

#[test]
fn text_that_nobody_takes_does_not_hold_up_a_limit_and_is_no_good_end() {
    // Two bytes and an end: mov al, 'x'; out 0xe9, al; out 0xe9, al; xor eax, eax; out 0xf4, eax
    const TWO: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xe6, 0xe9, 0x31, 0xc0, 0xe7, 0xf4];
    let bench = Bench::new();
    for (code, option, wanted) in [
        (FLOOD, "--limit=console=2", 122),
        (TWO, "--limit=console=1", 122),
        (FLOOD, "--limit=exits=2", 122),
        (TWO, "--timeout=100ms", 124),
    ] {
        let (_reader, writer) = full_pipe();
        let mut command = portcall(["run", option, "--quiet"]);
        let child = command.arg(bench.guest(code)).stdout(writer).spawn().expect("starts");
        let status = ended(child);
        assert_eq!(status.and_then(|status| status.code()), Some(wanted), "{option}");
    }
}

#[test]
fn a_reader_of_our_own_words_that_takes_nothing_does_not_hold_up_a_deadline() {
    let bench = Bench::new();
    let guest = bench.guest(SPIN);
    for options in [&["--timeout", "200ms"][..], &["--timeout", "200ms", "--steps"]] {
        let (_reader, writer) = full_pipe();
        let mut command = portcall(["run"]);
        let child = command.arg(&guest).args(options).stderr(writer).spawn().expect("starts");
        assert_eq!(ended(child).expect("ends").code(), Some(124), "{options:?}");
    }
    let (_reader, writer) = full_pipe();
    let mut command = portcall(["run"]);
    command.arg(&guest).args(["--timeout", "200ms", "--emit", "json"]).stdout(writer);
    assert!(!ended(command.spawn().expect("starts")).expect("ends").success());
}

#[test]
fn ctrl_c_ends_what_a_reader_holds_up_after_the_run() {
    let bench = Bench::new();
    let (_reader, writer) = full_pipe();
    let mut command = portcall(["run"]);
    command.arg(bench.guest(HALT)).args(["--emit", "json"]).stdout(writer);
    let child = command.spawn().expect("starts");
    // The run is over soon; then nothing of ours is in the way of a signal.
    std::thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGINT).expect("sent");
    assert!(!ended(child).expect("ends").success());
}

#[test]
fn a_blocked_signal_mask_that_was_inherited_changes_nothing() {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    use std::os::unix::process::CommandExt;
    let bench = Bench::new();
    let mut command = portcall(["run"]);
    command.arg(bench.guest(SPIN)).args(["--timeout", "200ms"]);
    let block = || Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?);
    // SAFETY: between fork and exec only sigprocmask is called, which is async-signal-safe.
    unsafe { command.pre_exec(block) };
    let child = command.spawn().expect("starts");
    assert_eq!(ended(child).expect("ends").code(), Some(124));
}

#[test]
fn a_non_blocking_stdin_is_waited_for() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let bench = Bench::new();
    // in eax, 0xea; out 0xf4, eax
    let guest = bench.guest(&[0xe5, 0xea, 0xe7, 0xf4]);
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
    let child = portcall(["run"]).arg(&guest).stdin(reader).spawn().expect("starts");
    std::thread::sleep(Duration::from_millis(100));
    writer.write_all(b"\x09").expect("written");
    assert_eq!(ended(child).expect("ends").code(), Some(9));
}

#[test]
fn the_image_is_not_overwritten_by_what_is_emitted() {
    let bench = Bench::new();
    let guest = bench.guest(HALT);
    let before = std::fs::read(&guest).expect("read");
    let output = run(&guest, &["--emit", &format!("core={}", guest.display())]);
    assert_says(&output, 125, &["is what is to be run"]);
    assert_eq!(std::fs::read(&guest).expect("read"), before);
}

#[test]
fn a_death_is_explained_and_json_has_all_of_it() {
    let bench = Bench::new();
    // mov byte [0x18], 1
    let guest = bench.guest(&[0xc6, 0x04, 0x25, 0x18, 0, 0, 0, 1]);
    let (file, core) = (bench.folder.path().join("run.json"), bench.folder.path().join("core"));
    let (emit_json, emit_core) =
        (format!("json={}", file.display()), format!("core={}", core.display()));
    for ring in ["0", "3"] {
        let output = run(&guest, &["--ring", ring, "--emit", &emit_json, "--emit", &emit_core]);
        assert_says(&output, 139, &["null pointer + 0x18", "backtrace:", "process code 139"]);
        let text = std::fs::read_to_string(&file).expect("written");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["end"]["mnemonic"], "#PF");
        assert_eq!(json["end"]["cr2"], "0x18");
        assert_eq!(json["explanation"]["backtrace"][0]["address"], "0x100000");
        assert!(std::fs::read(&core).expect("written").starts_with(b"\x7fELF"));
    }
    // A normal end is explained on request.
    let guest = bench.file("halt", &Elf::new(HALT).bytes());
    assert_says(&run(&guest, &["--backtrace"]), 0, &["backtrace:", "portcall: halted"]);
}
