//! `cargo xtask fuzz` of guests: what is found, what is kept, and what is said where there is nothing
//! to fuzz. Bounds are executions, by seeds, and not time.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

/// Where the fuzzer is, once xtask has built it and the guests.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        for name in ["parser", "fuzzed"] {
            let output = xtask(&["fuzz", name, "--", "--list"]);
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        }
        assert!(xtask(&["build", "hello"]).status.success());
        root().join("target/fuzzer/portcall")
    })
}

fn xtask(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(words).output().expect("it starts")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory of a test's own, empty.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    fn files(&self, what: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.0.join(what)) else { return Vec::new() };
        let mut files: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
        files.sort();
        files
    }

    /// The kinds of what was found.
    fn kinds(&self) -> Vec<String> {
        let name = |it: &PathBuf| it.file_name().expect("a name").to_string_lossy().into_owned();
        let names = self.files("crashes").iter().map(name).collect::<Vec<_>>();
        let names = names.iter().filter(|it| !it.ends_with(".txt"));
        names.map(|it| it.rsplit_once('-').expect("KIND-HASH").0.to_owned()).collect()
    }

    fn command(&self, guest: &str, words: &[&str]) -> Command {
        let mut command = Command::new(built());
        command.arg("fuzz").arg(image(guest)).args(words).current_dir(root());
        if !words.contains(&"--input") {
            command.arg("--corpus").arg(self.0.join("corpus"));
            command.arg("--crashes").arg(self.0.join("crashes"));
        }
        command.stdin(Stdio::null());
        command
    }

    /// What it says; it must end with that code.
    fn fuzz(&self, guest: &str, words: &[&str], code: i32) -> String {
        let output = self.command(guest, words).output().expect("it starts");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }
}

fn image(guest: &str) -> PathBuf {
    root().join("target/x86_64-unknown-none/release/examples").join(guest)
}

/// The number before a word of the last line.
fn number(said: &str, word: &str) -> u64 {
    let line = said.lines().rfind(|it| it.contains(" executions, ")).expect("a summary");
    let before = line.split_once(word).expect("the word is there").0;
    before.trim_end().rsplit(' ').next().and_then(|it| it.parse().ok()).expect("a number")
}

#[test]
fn a_planted_bug_is_found_made_small_and_found_again_in_its_file() {
    let place = Place::new("planted");
    let said = place.fuzz("parser", &["--seed", "1", "--runs", "150000"], 1);
    assert!(said.contains("range start index") && said.contains("parser.rs:"), "{said}");
    assert!(!said.contains("not the same again"), "{said}");
    let files = place.files("crashes");
    let input = files.iter().find(|it| it.extension().is_none()).expect("an input");
    let bytes = fs::read(input).expect("read");
    assert!(bytes.starts_with(b"PORT") && bytes.len() <= 8, "{bytes:?}");
    let again = place.fuzz("parser", &["--input", input.to_str().expect("UTF-8")], 1);
    assert!(again.contains("range start index"), "{again}");
    // What leads there is known from now on.
    assert!(place.files("corpus").len() >= 6, "{:?}", place.files("corpus"));
    let next = place.fuzz("parser", &["--seed", "2", "--runs", "10"], 0);
    assert!(!next.contains(" and 0 inputs"), "{next}");
}

#[test]
fn the_same_seed_gives_the_same_executions() {
    let run = |name: &str| {
        let place = Place::new(name);
        let words = ["--seed", "7", "--runs", "5000", "--timeout", "20s"];
        let output = place.command("parser", &words).output().expect("it starts");
        let said = said(&output);
        let bytes = |it: &PathBuf| fs::read(it).expect("read");
        let corpus: Vec<_> = place.files("corpus").iter().map(bytes).collect();
        let numbers = [" executions", " of ", " ended the guest"].map(|it| number(&said, it));
        (output.status.code(), numbers, corpus, place.kinds())
    };
    let once = run("seed, once");
    assert_eq!(once.1[0], 5000);
    assert_eq!(once, run("seed, twice"));
}

#[test]
fn memory_that_is_corrupted_is_whole_again_for_the_next() {
    for ring in ["0", "3"] {
        let place = Place::new(&format!("corrupts {ring}"));
        let words = ["--target", "corrupts", "--runs", "300", "--ring", ring, "--timeout", "20s"];
        let said = place.fuzz("fuzzed", &words, 0);
        assert_eq!(number(&said, " executions"), 300, "{said}");
    }
}

#[test]
fn what_always_ends_is_said_at_once() {
    for (target, kind) in
        [("always_panics", "panic"), ("never_returns", "timeout"), ("prints_for_ever", "output")]
    {
        let place = Place::new(target);
        let said = place.fuzz("fuzzed", &["--target", target, "--max-len", "256"], 1);
        assert!(said.contains("each of the first inputs ends the guest"), "{said}");
        assert!(said.contains("found: the empty input"), "{said}");
        assert_eq!(place.kinds(), [kind], "{said}");
    }
}

#[test]
fn each_way_to_end_is_a_finding_of_its_own_in_both_rings() {
    for ring in ["0", "3"] {
        let place = Place::new(&format!("ends {ring}"));
        let words = ["--target", "ends", "--seed", "3", "--runs", "3000", "--ring", ring];
        place.fuzz("fuzzed", &[&words[..], &["--max-len", "8"]].concat(), 1);
        let (kinds, count) = (place.kinds(), |kind: &str, kinds: &[String]| {
            kinds.iter().filter(|it| *it == kind).count()
        });
        for (kind, least) in [("panic", 2), ("exited", 1), ("exception", 3), ("timeout", 1)] {
            assert!(count(kind, &kinds) >= least, "ring {ring}: {kinds:?}");
        }
        // The stack ends in one function, wherever in it.
        assert!(kinds.len() <= 9, "ring {ring}: {kinds:?}");
    }
}

#[test]
fn what_there_is_to_fuzz_is_named() {
    let place = Place::new("names");
    assert!(place.fuzz("hello", &[], 125).contains("does not say `guest::tests!()`"));
    let several = place.fuzz("fuzzed", &[], 125);
    assert!(several.contains("name one by --target: always_panics, corrupts, ends"), "{several}");
    let unknown = place.fuzz("fuzzed", &["--target", "end"], 125);
    assert!(unknown.contains("no function `end` to fuzz; there is always_panics"), "{unknown}");
    let list = place.command("fuzzed", &["--list"]).output().expect("it starts");
    assert_eq!(list.stdout.iter().filter(|it| **it == b'\n').count(), 6);
    let nothing = xtask(&["fuzz", "helo"]);
    assert!(said(&nothing).contains("there is no fuzz target and no guest `helo`"));
}

#[test]
fn directories_and_inputs_that_are_none_are_said() {
    let place = Place::new("files");
    let (file, large) = (place.0.join("file"), place.0.join("large"));
    fs::write(&file, "").expect("written");
    fs::write(&large, vec![0; 70_000]).expect("written");
    let file = file.to_str().expect("UTF-8");
    let mut command = Command::new(built());
    command.arg("fuzz").arg(image("parser")).args(["--corpus", file]);
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(125));
    assert!(said(&output).contains("cannot make the directory"), "{}", said(&output));
    let seeds = place.fuzz("parser", &["--seeds", file], 125);
    assert!(seeds.contains("cannot read the directory"), "{seeds}");
    let large = place.fuzz("parser", &["--input", large.to_str().expect("UTF-8")], 125);
    assert!(large.contains("more than 65408 bytes"), "{large}");
    let folder = place.0.to_str().expect("UTF-8");
    let left_out = place.fuzz("parser", &["--seeds", folder, "--runs", "4"], 0);
    assert!(left_out.contains("large is left out: it has more than 4096 bytes"), "{left_out}");
}

#[test]
fn where_nothing_can_be_written_it_goes_on_and_says_what_it_found() {
    // There no one makes a file, root neither.
    let words = ["--corpus", "/sys/fs", "--crashes", "/sys/fs", "--seed", "1", "--runs", "2000"];
    let run = |guest: &str, target: &str| {
        let mut command = Command::new(built());
        command.arg("fuzz").arg(image(guest)).args(words).args(["--target", target]);
        said(&command.output().expect("it starts"))
    };
    let kept = run("parser", "parse");
    assert_eq!(kept.matches("cannot write an input of the corpus").count(), 1, "{kept}");
    assert_eq!(number(&kept, " executions"), 2000, "{kept}");
    let found = run("fuzzed", "always_panics");
    assert!(found.contains("its input, in hexadecimal"), "{found}");
    assert!(found.contains("cannot write what was found"), "{found}");
}

#[test]
fn an_interrupt_ends_it_with_its_summary() {
    let place = Place::new("interrupt");
    let mut command = place.command("fuzzed", &["--target", "nothing"]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut words = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains(" executions, ") {
        line.clear();
        assert!(words.read_line(&mut line).expect("read") > 0, "it ended by itself");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("it starts").success());
    let mut rest = String::new();
    words.read_to_string(&mut rest).expect("read");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{rest}");
    assert!(rest.contains("portcall: ") && rest.contains(" executions, "), "{rest}");
}
