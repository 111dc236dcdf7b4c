//! `--emit profile` and `--emit coverage` from outside: what they write, what goes with them, and
//! what they say where they cannot. Some guests are in C, so these tests need a C compiler.

#[path = "../../tests/common/mod.rs"]
mod common;
mod said;

use common::elf::Elf;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use said::{assert_says, stderr};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// mov al, 'x'; out 0xe9, al; jmp to itself
const SPIN: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfe];
/// mov al, 'H'; out 0xe9, al; xor eax, eax; out 0xf4, eax
const HELLO: &[u8] = &[0xb0, b'H', 0xe6, 0xe9, 0x31, 0xc0, 0xe7, 0xf4];

/// A guest of which it is known what it reaches, and which reads and prints.
const SOURCE: &str = "\
static inline void out(unsigned short port, unsigned char value) {
    __asm__ volatile(\"outb %0, %1\" :: \"a\"(value), \"Nd\"(port));
}
static inline unsigned char in(unsigned short port) {
    unsigned char value;
    __asm__ volatile(\"inb %1, %0\" : \"=a\"(value) : \"Nd\"(port));
    return value;
}
void _start(void) {
    unsigned char letter = in(0xea);
    if (letter == 'n')
        out(0xe9, 'N');
    for (volatile int i = 0; i < 3000; i++) {}
    out(0xe9, letter);
    out(0xf4, 0);
    for (;;) {}
}
";

/// A guest with an instruction that a KVM which emulates ring 0 does not know, and lines behind it
/// whose first bytes it reads along.
const UNEMULATED: &str = "\
void _start(void) {
    int found = 0;
    __asm__ volatile(\"lar %%ecx, %0\" : \"+r\"(found));
    __asm__ volatile(\"nop\");
    __asm__ volatile(\"nop\");
    __asm__ volatile(\"ud2\");
}
";

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().expect("is there").join(name)
    }

    fn guest(&self, code: &[u8]) -> PathBuf {
        let path = self.path("guest");
        std::fs::write(&path, Elf::new(code).bytes()).expect("written");
        path
    }

    /// The guest in C, with its debug information.
    fn in_c(&self) -> PathBuf {
        self.built("reads", SOURCE)
    }

    fn built(&self, name: &str, text: &str) -> PathBuf {
        let (source, image) = (self.path(&format!("{name}.c")), self.path(name));
        std::fs::write(&source, text).expect("written");
        let mut cc = Command::new("cc");
        cc.args(["-static", "-nostdlib", "-ffreestanding", "-mgeneral-regs-only", "-g", "-O1"]);
        let built = cc.arg("-o").arg(&image).arg(&source).status();
        let remedy = "this test needs a C compiler (apt-get install gcc libc6-dev)";
        assert!(built.expect(remedy).success(), "{remedy}");
        image
    }

    /// In this folder, so that its sources are those that are wanted.
    fn portcall(&self, verb: &str, file: &Path, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
        command.current_dir(self.path("")).arg(verb).arg(file).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, file: &Path, options: &[&str]) -> Output {
        self.portcall("run", file, options).output().expect("starts")
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("written")
    }
}

#[test]
fn names_say_what_is_written_and_others_are_refused_before_the_run() {
    let bench = Bench::new();
    let guest = bench.guest(HELLO);
    let says = |options: &[&str], words: &[&str]| {
        let output = bench.run(&guest, options);
        assert_says(&output, 125, words);
        assert_eq!(output.stdout, b"", "it ran");
    };
    says(&["--emit=profile=a.png"], &["profile=a.png", "FILE.svg", "FILE.folded"]);
    says(&["--emit=profile=svg"], &["FILE.svg"]);
    says(&["--emit=profile"], &["name one, profile=FILE.svg"]);
    says(&["--emit=coverage=a.txt"], &["coverage=a.txt", "FILE.info", "FILE.html"]);
    says(&["--emit=coverage"], &["name one, coverage=FILE.info"]);
    says(&["--emit=profile=a.svg", "--emit=profile=b.folded"], &["samples are taken once"]);
    says(&["--emit=profile=/nonexistent/a.svg"], &["cannot create /nonexistent/a.svg"]);
    says(&["--emit=coverage=/nonexistent/a.info"], &["cannot create /nonexistent/a.info"]);
    says(&["--emit=profile=a.svg", "--profile-rate=0"], &["--profile-rate"]);
    says(&["--emit=profile=a.svg", "--profile-rate=10001"], &["--profile-rate"]);
    // It was put together by hand.
    says(&["--emit=coverage=a.info"], &["no lines of guest", "build it with -g"]);
    let built = bench.in_c();
    let elsewhere = ["--emit=coverage=a.info", "--coverage-of=/nonexistent"];
    let output = bench.run(&built, &elsewhere);
    assert_says(&output, 125, &["beneath /nonexistent", "--coverage-of all"]);
    // What is given already is no advice; and nothing is left of a run that was none.
    let guest = bench.guest(HELLO);
    let output = bench.run(&guest, &["--emit=coverage=a.info", "--coverage-of=all"]);
    assert!(!stderr(&output).contains("--coverage-of"), "{}", stderr(&output));
    assert!(!bench.path("a.info").exists());
    // What stood there before stays.
    std::fs::write(bench.path("kept.info"), "").expect("written");
    let json = format!("--emit=json={}", bench.path("a.json").display());
    let output = bench.run(&guest, &[&json, "--emit=coverage=kept.info"]);
    assert_says(&output, 125, &["no lines of guest"]);
    assert!(!bench.path("a.json").exists() && bench.path("kept.info").exists());
}

#[test]
fn what_the_guest_did_is_in_the_files_in_both_rings() {
    let bench = Bench::new();
    let guest = bench.in_c();
    for ring in ["--ring=0", "--ring=3"] {
        let all = [
            ring,
            "--profile-rate=10000",
            "--emit=profile=a.svg",
            "--emit=coverage=a.info",
            "--emit=coverage=a.html",
            "--expect=exit=0",
            "--limit=exits=3",
        ];
        // Breakpoints are no exits of the guest's.
        let output = bench.run(&guest, &all);
        assert_says(&output, 0, &[]);
        let lcov = bench.text("a.info");
        assert!(lcov.contains(&format!("SF:{}\n", bench.path("reads.c").display())), "{lcov}");
        for line in ["DA:10,1", "DA:12,0", "DA:13,1", "DA:14,1", "FNDA:1,_start", "LH:"] {
            assert!(lcov.contains(line), "{line}:\n{lcov}");
        }
        let page = bench.text("a.html");
        assert!(page.contains("<div class=\"miss\" data-n=\"12\">        out(0xe9, &#39;N&#39;);"));
        let svg = bench.text("a.svg");
        assert!(svg.contains("</svg>") && svg.contains("reads"), "{svg}");
        if ring == "--ring=0" {
            assert!(svg.contains("_start") && svg.contains("samples of"), "{svg}");
        }
    }
}

#[test]
fn an_end_shows_the_guests_own_bytes_and_no_breakpoints() {
    let bench = Bench::new();
    let guest = bench.built("unemulated", UNEMULATED);
    for ring in ["--ring=0", "--ring=3"] {
        let (json, core) = (bench.path("a.json"), bench.path("a.core"));
        let files =
            [format!("--emit=json={}", json.display()), format!("--emit=core={}", core.display())];
        let ended = |options: &[&str]| {
            let output = bench.run(&guest, &[&[ring, &files[0], &files[1]], options].concat());
            let json = bench.text("a.json");
            let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
            let explanation = json["explanation"].clone();
            let core = std::fs::read(&core).expect("written");
            // Its last line has how long it took.
            let said = stderr(&output);
            let said = said.rsplit_once("portcall: ").map(|(words, _)| words.to_owned());
            (json["end"].clone(), explanation, core, said)
        };
        let plain = ended(&[]);
        let covered = ended(&["--emit=coverage=a.info", "--emit=report=a.html"]);
        assert_eq!(covered.0, plain.0, "{ring}");
        assert_eq!(covered.1, plain.1, "{ring}");
        assert!(covered.2 == plain.2, "{ring}: the core files differ");
        assert_eq!(covered.3, plain.3, "{ring}");
        let page = bench.text("a.html");
        if let Some(bytes) = plain.0["bytes"].as_str() {
            assert!(page.contains(&format!("bytes at RIP: {bytes}")), "{ring}: {bytes}");
        }
    }
}

#[test]
fn runs_are_put_together() {
    let bench = Bench::new();
    let guest = bench.in_c();
    let one = bench.run(&guest, &["--emit=coverage=one.info"]);
    assert_says(&one, 0, &[]);
    let (said, telling) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &telling, b"n").expect("written");
    drop(telling);
    let mut other = bench.portcall("run", &guest, &["--emit=coverage=other.info"]);
    assert_says(&other.stdin(said).output().expect("starts"), 0, &[]);
    let options = ["other.info", "--lcov=all.info", "--html=all.html"];
    let together = bench.portcall("coverage", Path::new("one.info"), &options);
    let output = { together }.output().expect("starts");
    // All but what is behind the end.
    assert_says(&output, 0, &["reads.c     14       13  92%"]);
    assert!(
        bench.text("one.info").contains("DA:12,0") && bench.text("all.info").contains("DA:12,1")
    );
    assert!(bench.text("all.html").contains("13 of 14"));
    let none = bench.portcall("coverage", &guest, &[]).output().expect("starts");
    assert_says(&none, 125, &["no lcov"]);
}

#[test]
fn a_guest_that_is_stopped_leaves_what_there_is() {
    let bench = Bench::new();
    let guest = bench.guest(SPIN);
    for ring in ["--ring=0", "--ring=3"] {
        let limited = bench.run(&guest, &[ring, "--timeout=300ms", "--emit=profile=a.folded"]);
        assert_says(&limited, 124, &[]);
        assert!(!bench.text("a.folded").is_empty());
        let mut child = bench.portcall("run", &guest, &[ring, "--emit=profile=b.folded"]);
        let mut child = child.spawn().expect("starts");
        // It runs.
        let mut letter = [0];
        let stdout = child.stdout.as_mut().expect("a pipe");
        stdout.read_exact(&mut letter).expect("a letter");
        std::thread::sleep(Duration::from_millis(300));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("small"));
        kill(pid, Signal::SIGINT).expect("sent");
        let output = child.wait_with_output().expect("ends");
        assert_says(&output, 130, &[]);
        assert!(!bench.text("b.folded").is_empty(), "{}", stderr(&output));
    }
}

#[test]
fn the_help_names_them() {
    let output = Bench::new().portcall("run", Path::new("--help"), &[]).output().expect("starts");
    let help = String::from_utf8_lossy(&output.stdout);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for kind in ["profile=FILE.svg|.folded", "coverage=FILE.info|.html"] {
        assert!(help.contains(kind), "{help}");
    }
}

#[test]
fn a_signal_that_comes_twice_at_once_takes_no_file_away() {
    let bench = Bench::new();
    let guest = bench.guest(SPIN);
    let mut child = bench.portcall("run", &guest, &["--ring=3", "--emit=profile=a.folded"]);
    let mut child = child.spawn().expect("starts");
    let mut letter = [0];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut letter).expect("a letter");
    std::thread::sleep(Duration::from_millis(300));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("small"));
    // As timeout(1) does it; the first is taken before the second comes.
    kill(pid, Signal::SIGTERM).expect("sent");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_micros(200));
        kill(pid, Signal::SIGTERM).expect("sent");
    }
    let output = child.wait_with_output().expect("ends");
    assert_says(&output, 143, &[]);
    assert!(!bench.text("a.folded").is_empty(), "{}", stderr(&output));
}

#[test]
fn a_full_disk_takes_nothing_of_what_is_said() {
    let bench = Bench::new();
    let guest = bench.in_c();
    for (kind, ending) in [("profile", "svg"), ("coverage", "info"), ("coverage", "html")] {
        let name = bench.path(&format!("full.{ending}"));
        std::os::unix::fs::symlink("/dev/full", &name).expect("made");
        let output = bench.run(&guest, &[&format!("--emit={kind}={}", name.display())]);
        assert_says(&output, 125, &["exited with code 0", "No space left"]);
        std::fs::remove_file(&name).expect("removed");
    }
}

#[test]
fn a_guest_without_a_sample_is_said_to_have_none() {
    let bench = Bench::new();
    let guest = bench.guest(HELLO);
    let options = ["--emit=profile=a.svg", "--profile-rate=1"];
    assert_says(&bench.run(&guest, &options), 0, &["a.svg has no samples"]);
    assert!(bench.text("a.svg").contains("no samples"));
}

#[test]
fn a_replay_goes_as_recorded_with_both() {
    let bench = Bench::new();
    let guest = bench.in_c();
    let both = ["--emit=profile=a.folded", "--profile-rate=10000", "--emit=coverage=a.info"];
    for ring in ["--ring=0", "--ring=3"] {
        // Recorded with breakpoints and ticks, and without.
        for more in [&both[..], &[]] {
            let options = [&[ring, "--emit=log=log"], more].concat();
            assert_says(&bench.run(&guest, &options), 0, &[]);
            let output = bench.portcall("replay", &bench.path("log"), &both).output();
            let output = output.expect("starts");
            assert_says(&output, 0, &["the same as recorded"]);
            assert!(bench.text("a.info").contains("DA:12,0"));
        }
    }
}

/// Faults, behind lines enough for a coverage.
const FAULTS: &str = "\
void _start(void) {
    for (volatile int i = 0; i < 30; i++) {}
    __asm__ volatile(\"outb %0, $0xe9\" :: \"a\"((unsigned char)'F'));
    __asm__ volatile(\"ud2\");
    for (;;) {}
}
";

#[test]
fn a_guest_that_faults_is_recorded_and_replayed_beside_a_coverage() {
    let bench = Bench::new();
    let guest = bench.built("faults", FAULTS);
    let coverage = &["--emit=coverage=a.info", "--coverage-of=all"][..];
    for ring in ["--ring=0", "--ring=3"] {
        for more in [coverage, &[]] {
            let options = [&[ring, "--emit=log=log", "--emit=json=a.json"], more].concat();
            let recorded = bench.run(&guest, &options).status.code().expect("it exited");
            // With breakpoints in it, the count is not the guest's.
            let json: String = bench.text("a.json").split_whitespace().collect();
            let is_left_out = json.contains("\"emulated_instructions\":null");
            assert!(more.is_empty() || is_left_out, "{ring}: {json}");
            for again in [coverage, &[]] {
                let output = bench.portcall("replay", &bench.path("log"), again).output();
                assert_says(&output.expect("starts"), recorded, &["the same as recorded"]);
            }
        }
    }
}

/// Prints markup, and has a function that is named so.
const MARKUP: &str = "\
static inline void out(unsigned short port, unsigned char value) {
    __asm__ volatile(\"outb %0, %1\" :: \"a\"(value), \"Nd\"(port));
}
__attribute__((noinline)) void says(const char *text) {
    for (; *text; text++)
        out(0xe9, *text);
}
void _start(void) {
    says(\"</pre><script>alert(1)</script><img src=x onerror=alert(2)>\\n\");
    *(volatile char *)0 = 1;
    for (;;) {}
}
";

/// A guest of that source whose function is called by a name that would be markup.
fn markup_guest(bench: &Bench) -> PathBuf {
    let (source, plain, guest) =
        (bench.path("markup.c"), bench.path("plain"), bench.path("markup"));
    std::fs::write(&source, MARKUP).expect("written");
    let options = ["-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-O1"];
    let built = Command::new("cc").args(options).arg("-o").args([&plain, &source]).status();
    assert!(built.expect("a C compiler").success());
    let renamed = Command::new("objcopy")
        .arg("--redefine-sym=says=</title><script>alert(3)</script>")
        .args([&plain, &guest])
        .status();
    assert!(renamed.expect("binutils").success());
    guest
}

#[test]
fn a_guests_markup_is_text_in_the_report_also_in_the_jail_and_beside_all_others() {
    let bench = Bench::new();
    let guest = markup_guest(&bench);
    let page = bench.path("page.html");
    for more in [&[][..], &["--no-jail"], &["--ring=3"], &["--limit=exits=9"]] {
        let emit = |kind: &str, name: &str| format!("--emit={kind}={}", bench.path(name).display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
        command.arg("run").arg(&guest).args(more).arg(emit("report", "page.html"));
        command.args([emit("trace", "a.json"), emit("profile", "a.svg"), emit("json", "b.json")]);
        let output = command.output().expect("starts");
        let code = if more == ["--limit=exits=9"] { 122 } else { 139 };
        assert_says(&output, code, &["portcall: ended as"]);
        let text = std::fs::read_to_string(&page).expect("written");
        assert_eq!(text.matches("<script").count(), 1, "{more:?}");
        assert!(!text.contains("<img") && text.ends_with("</html>"), "{more:?}");
        assert!(text.contains("&lt;/title&gt;&lt;script&gt;alert(3)"), "{more:?}");
        assert!(code == 122 || text.contains("&lt;/pre&gt;&lt;script&gt;alert(1)"), "{more:?}");
        std::fs::remove_file(&page).expect("removed");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_said_beforehand_or_costs_no_outcome() {
    let bench = Bench::new();
    let guest = bench.guest(HELLO);
    let run = |file: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
        command.arg("run").arg(&guest).arg(format!("--emit=report={}", file.display()));
        command.output().expect("starts")
    };
    let directory = bench.path("directory.html");
    std::fs::create_dir(&directory).expect("made");
    for (file, why) in [
        (bench.path("missing/page.html"), "cannot create"),
        (directory, "cannot create"),
        (bench.path("page.svg"), "a report is a page"),
    ] {
        let output = run(&file);
        assert_says(&output, 125, &[why]);
        assert_eq!(output.stdout, b"", "the guest did not run");
    }
    let full = bench.path("full.html");
    std::os::unix::fs::symlink("/dev/full", &full).expect("linked");
    let output = run(&full);
    assert_says(&output, 125, &["exited with code 0", "cannot write"]);
    assert_eq!(output.stdout, b"H");
}

#[test]
fn a_run_that_is_refused_leaves_no_file_and_takes_none_away() {
    let bench = Bench::new();
    let guest = bench.guest(HELLO);
    std::fs::write(bench.path("older.html"), "").expect("written");
    // It was put together by hand: there are no lines to cover.
    for page in ["new.html", "older.html"] {
        let options = [&format!("--emit=report={page}"), "--emit=coverage=a.info"];
        assert_says(&bench.run(&guest, &options), 125, &["no lines of guest"]);
    }
    let is_there = |name: &str| bench.path(name).exists();
    assert!(!is_there("new.html") && !is_there("a.info") && is_there("older.html"));
    let output = bench.run(&guest, &["--emit=report=PAGE.HTML", "--", "two words"]);
    assert_says(&output, 0, &[]);
    let page = bench.text("PAGE.HTML");
    assert!(page.contains("process code 0 (2 exits") && page.contains("two words"), "{page}");
}

#[test]
fn an_option_that_nothing_heeds_is_refused() {
    let bench = Bench::new();
    let guest = bench.guest(HELLO);
    let rate = bench.run(&guest, &["--profile-rate=50", "--emit=coverage=a.info"]);
    assert_says(&rate, 125, &["--profile-rate is for --emit profile and --emit report"]);
    let of = bench.run(&guest, &["--coverage-of=all", "--emit=report=a.html"]);
    assert_says(&of, 125, &["--coverage-of is for --emit coverage"]);
}

#[test]
fn a_replay_and_an_interrupted_run_have_a_report() {
    let bench = Bench::new();
    let guest = bench.guest(SPIN);
    let (page, log) = (bench.path("page.html"), bench.path("a.log"));
    let emit = |kind: &str, path: &Path| format!("--emit={kind}={}", path.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.arg("run").arg(&guest).args([emit("report", &page), emit("log", &log)]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut letter = [0];
    child.stdout.as_mut().expect("piped").read_exact(&mut letter).expect("prints");
    let id = i32::try_from(child.id()).expect("a process");
    kill(Pid::from_raw(id), Signal::SIGINT).expect("is there");
    assert_says(&child.wait_with_output().expect("ends"), 130, &["interrupted"]);
    let text = std::fs::read_to_string(&page).expect("written");
    assert!(
        text.contains("interrupted by SIGINT, process code 130") && text.contains("flame-graph")
    );
    std::fs::remove_file(&page).expect("removed");
    let mut replay = Command::new(env!("CARGO_BIN_EXE_portcall"));
    replay.arg("replay").arg(&log).args([emit("report", &page), "--timeout=20s".to_owned()]);
    assert_says(&replay.output().expect("starts"), 130, &["the same as recorded"]);
    assert!(std::fs::read_to_string(&page).expect("written").ends_with("</html>"));
}
