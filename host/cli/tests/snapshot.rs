//! `portcall run --emit snapshot=FILE`, and `portcall run FILE`.

#[path = "../../tests/common/mod.rs"]
mod common;
mod said;

use common::elf::Elf;
use said::{assert_says, stderr};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const SEED: u32 = 0x8000;

/// Prints `a`, says that it is ready with a seed of 16 bytes, prints them, and ends with that code;
/// or by `ud2`, without one.
fn guest(code: Option<u8>) -> Vec<u8> {
    let interface = portcall::abi::host::INTERFACE;
    let number = interface.number(interface.place("ready")).to_le_bytes();
    let end: &[u8] = match &code {
        // mov eax, CODE; out 0xf4, eax
        Some(code) => &[0xb8, *code, 0, 0, 0, 0xe7, 0xf4],
        None => &[0x0f, 0x0b],
    };
    let code = [
        // mov al, 'a'; out 0xe9, al; mov eax, NUMBER
        &[0xb0, b'a', 0xe6, 0xe9, 0xb8][..],
        &number,
        // mov edi, SEED
        &[0xbf],
        &SEED.to_le_bytes(),
        // mov esi, 16; out 0xf7, eax; mov rsi, rdi; mov ecx, 16; mov dx, 0xe9; rep outsb
        &[0xbe, 16, 0, 0, 0, 0xe7, 0xf7, 0x48, 0x89, 0xfe, 0xb9, 16, 0, 0, 0],
        &[0x66, 0xba, 0xe9, 0, 0xf3, 0x6e],
        end,
    ];
    Elf::new(&code.concat()).bytes()
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn guest(&self, name: &str, code: Option<u8>) -> PathBuf {
        std::fs::write(self.path(name), guest(code)).expect("written");
        self.path(name)
    }

    fn emit(&self, name: &str) -> String {
        format!("--emit=snapshot={}", self.path(name).display())
    }

    /// What is there.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("there");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("one").file_name();
        let mut names: Vec<_> = entries.map(|it| name(it).into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

fn portcall<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.args(args).stdin(Stdio::null()).output().expect("starts")
}

fn run(what: &std::path::Path, options: &[&str]) -> Output {
    portcall(
        [OsStr::new("run"), what.as_os_str()].into_iter().chain(options.iter().map(OsStr::new)),
    )
}

#[test]
fn a_guest_goes_on_from_its_snapshot_with_another_seed_each_time() {
    let bench = Bench::new();
    let image = bench.guest("guest", Some(7));
    for ring in ["--ring=0", "--ring=3"] {
        for jail in [&[][..], &["--no-jail"]] {
            let emit = bench.emit("kept");
            let options = [&[ring, &emit, "--memory=4GiB"][..], jail].concat();
            let first = run(&image, &options);
            assert_says(&first, 7, &["exited with code 7"]);
            assert_eq!((first.stdout.len(), first.stdout[0]), (17, b'a'));
            let mut seeds = vec![first.stdout[1..].to_vec()];
            for _ in 0..3 {
                let again = run(&bench.path("kept"), jail);
                assert_says(&again, 7, &["exited with code 7"]);
                seeds.push(again.stdout);
            }
            assert!(seeds.iter().all(|seed| seed.len() == 16));
            seeds.sort();
            seeds.dedup();
            assert_eq!(seeds.len(), 4, "two are the same");
            assert_eq!(bench.names(), ["guest", "kept"]);
        }
    }
}

#[test]
fn a_run_of_a_snapshot_has_the_options_of_a_run_but_those_that_are_in_it() {
    let bench = Bench::new();
    let image = bench.guest("guest", Some(0));
    assert_says(&run(&image, &[&bench.emit("kept"), "--", "an argument"]), 0, &[]);
    let kept = bench.path("kept");
    let says = |options: &[&str], code: i32, words: &[&str]| {
        let output = run(&kept, options);
        assert_says(&output, code, words);
        output
    };
    let (json, core) = (bench.path("json"), bench.path("core"));
    let (json_option, core_option) =
        (format!("--emit=json={}", json.display()), format!("--emit=core={}", core.display()));
    says(&["--steps", "--stats", "--backtrace", &json_option, &core_option], 0, &["KVM_SET_*"]);
    assert!(std::fs::read_to_string(json).expect("there").contains("\"exited\""));
    assert!(std::fs::read(core).expect("there").starts_with(b"\x7fELF"));
    says(&["--limit=exits=1"], 122, &["limit"]);
    says(&["--expect=exits.port[0xf4]=1", "--expect=exit=0", "--timeout=10s"], 0, &[]);
    says(&["--expect=exits.port[0xf7]=1"], 121, &[]);
    assert_eq!(stderr(&says(&["--quiet"], 0, &[])), "");
    // It does not call any more.
    says(&["--allow=none"], 0, &[]);
    says(&["--memory=1MiB"], 125, &["is a snapshot: the memory is in it; leave out --memory"]);
    says(&["--ring=0"], 125, &["is a snapshot: the ring is in it; leave out --ring"]);
    says(&["--", "other"], 125, &["the arguments are in it"]);
    let log = format!("--emit=log={}", bench.path("log").display());
    says(&[&log], 125, &["a log begins with a guest's first instruction"]);
    says(&[&bench.emit("kept")], 125, &["is what is to be run; name another file"]);
    let replayed = portcall([OsStr::new("replay"), kept.as_os_str()]);
    assert_says(&replayed, 125, &["this is a snapshot, and no log", "portcall run"]);
    assert_eq!(run(&kept, &[]).status.code(), Some(0), "it is as it was");
}

#[test]
fn an_end_behind_a_snapshot_is_explained_by_the_image_in_it() {
    let bench = Bench::new();
    let image = bench.guest("guest", None);
    assert_says(&run(&image, &[&bench.emit("kept")]), 139, &["invalid opcode"]);
    std::fs::remove_file(&image).expect("there");
    assert_says(&run(&bench.path("kept"), &[]), 139, &["invalid opcode", "ud2"]);
}

#[test]
fn a_guest_that_never_is_ready_leaves_nothing_and_what_stood_there_stays() {
    let bench = Bench::new();
    // xor eax, eax; out 0xf4, eax
    let exits = Elf::new(&[0x31, 0xc0, 0xe7, 0xf4]).bytes();
    std::fs::write(bench.path("exits"), exits).expect("written");
    let never = |options: &[&str]| {
        let output = run(&bench.path("exits"), options);
        assert_says(&output, 125, &["there is no snapshot", "never said that it is ready"]);
    };
    never(&[&bench.emit("kept")]);
    assert_eq!(bench.names(), ["exits"]);
    std::fs::write(bench.path("kept"), "older").expect("written");
    never(&[&bench.emit("kept"), "--no-jail"]);
    never(&[&bench.emit("kept")]);
    // A call that is refused is none.
    let image = bench.guest("guest", Some(0));
    let refused = run(&image, &[&bench.emit("kept"), "--allow=none"]);
    assert_says(&refused, 125, &["Host::ready", "there is no snapshot"]);
    assert_eq!(bench.names(), ["exits", "guest", "kept"]);
    assert_eq!(std::fs::read(bench.path("kept")).expect("there"), b"older");
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_what_stood_there() {
    let bench = Bench::new();
    let image = bench.path("guest");
    let large = [guest(Some(0)), vec![1; 8 << 20]].concat();
    std::fs::write(&image, large).expect("written");
    std::fs::write(bench.path("kept"), "older").expect("written");
    for jail in ["", "--no-jail"] {
        // No file may have more than 3 MiB (or 6, by the shell): as good as a full disk, but the
        // copy of the guest's memory fits.
        let mut limited = Command::new("sh");
        let words = "ulimit -f 6000 && exec \"$0\" run --memory=2MiB \"$1\" \"$2\" $3";
        limited.args(["-c", words, env!("CARGO_BIN_EXE_portcall")]);
        limited.arg(&image).arg(bench.emit("kept")).arg(jail);
        let output = limited.output().expect("starts");
        assert_says(&output, 125, &["exited with code 0", "cannot write", "File too large"]);
        assert_eq!(output.stdout.len(), 17, "the run goes on");
        assert_eq!(bench.names(), ["guest", "kept"]);
        assert_eq!(std::fs::read(bench.path("kept")).expect("there"), b"older");
    }
    std::fs::create_dir(bench.path("folder")).expect("made");
    let says = |option: &str, words: &str| assert_says(&run(&image, &[option]), 125, &[words]);
    says(&bench.emit("folder"), "it is a directory; name a file");
    says("--emit=snapshot=/dev/full", "it is no plain file");
    says(&bench.emit("nowhere/kept"), "cannot create");
    says("--emit=snapshot", "a snapshot is a file: name it");
    let twice = run(&image, &[&bench.emit("kept"), &bench.emit("other")]);
    assert_says(&twice, 125, &["a snapshot is taken once"]);
    let both = format!("--emit=json={}", bench.path("kept").display());
    assert_says(&run(&image, &[&bench.emit("kept"), &both]), 125, &["is named twice"]);
    let log = format!("--emit=log={}", bench.path("log").display());
    assert_says(&run(&image, &[&bench.emit("kept"), &log]), 125, &["leave one of them out"]);
    assert_eq!(std::fs::read(bench.path("kept")).expect("there"), b"older");
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let bench = Bench::new();
    let image = bench.guest("guest", Some(0));
    assert_says(&run(&image, &[&bench.emit("kept")]), 0, &[]);
    let whole = std::fs::read(bench.path("kept")).expect("there");
    let says = |change: &dyn Fn(&mut Vec<u8>), words: &str| {
        let mut file = whole.clone();
        change(&mut file);
        std::fs::write(bench.path("wrong"), file).expect("written");
        let output = run(&bench.path("wrong"), &[]);
        assert_says(&output, 125, &["wrong: ", words]);
        assert_eq!(output.stdout, b"");
    };
    says(&|file| file.truncate(file.len() - 1), "it was cut short");
    says(&|file| file.truncate(8), "it was cut short");
    let last = whole.len() - 100;
    says(&|file| file[last] ^= 1, "is damaged at byte");
    says(&|file| file[8] += 1, "format version 3");
    says(&|file| file.push(0), "something stands behind its end");
}
