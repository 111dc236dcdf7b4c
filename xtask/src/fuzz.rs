//! `cargo xtask fuzz`: builds the host's fuzz targets by cargo-fuzz, runs them, and says what was
//! found; of a guest's name, the guest is fuzzed (`snapfuzz`).
//!
//! cargo-fuzz only builds: what it makes is run from here, so that everything that a run leaves
//! behind is below target/, and what it found is said in a line.

use crate::cargo::{cannot_start, cargo, root, target_dir};
use crate::programs::closest;
use crate::snapfuzz::{self, Guest};
use crate::{BAD, Failure, GOOD};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// The command line of `fuzz`.
#[derive(clap::Args)]
#[command(after_help = "\
NAME is fuzz/fuzz_targets/NAME.rs; all of them, one after the other, if none is given. Each goes
on with the inputs that it kept the last time (target/fuzz/corpus/NAME), beside its seeds.
What was found is kept in target/fuzz/artifacts/NAME, and makes the exit code 1.

Or NAME is a guest program, or a package with tests in VMs, which has a function with #[guest::fuzz]:
that is fuzzed in a VM (`portcall fuzz`). What it keeps is in target/snapfuzz/NAME.

The targets of the host need the nightly compiler and cargo-fuzz:
  rustup toolchain install nightly --profile minimal
  cargo install cargo-fuzz")]
pub(crate) struct Args {
    /// A target of the host's, or a guest
    name: Option<String>,
    /// Of a guest with several functions that are fuzzed, which one
    #[arg(long, value_name = "FUNCTION")]
    target: Option<String>,
    /// How long each target runs: 60s, 5min, 2h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    time: Duration,
    /// After --: options of libFuzzer's (-seed=7, -runs=1000000, -fork=2); of a guest, of `portcall
    /// fuzz` (--seed 7, --ring 0, --input FILE)
    #[arg(last = true)]
    options: Vec<String>,
}

/// What a target is run with.
struct Limits {
    /// The most bytes of an input.
    length: u32,
    /// Whether the address sanitizer is in it. It works with KVM, but makes these three to six times
    /// slower, and what unsafe code works on there are mappings, whose ends it does not know.
    sanitized: bool,
}

const fn limits(target: &str) -> Limits {
    match target.as_bytes() {
        b"calls" => Limits { length: 512, sanitized: false },
        b"exits" => Limits { length: 1024, sanitized: false },
        b"dwarf" => Limits { length: 12288, sanitized: true },
        _ => Limits { length: 4096, sanitized: true },
    }
}

/// Seconds that one input may take, MiB that one allocation may, and that all may. A busy machine
/// is not what is looked for.
const SECONDS: u32 = 25;
const ALLOCATION: u32 = 128;
const MEMORY: u32 = 512;

/// Runs one target or all.
pub(crate) fn fuzz(args: &Args) -> Result<ExitCode, Failure> {
    let targets = targets()?;
    let chosen: Vec<&String> = match &args.name {
        None => targets.iter().collect(),
        Some(name) => targets.iter().filter(|it| *it == name).collect(),
    };
    if let (Some(name), []) = (&args.name, &chosen[..]) {
        if let Some((guest, fuzzer)) = Guest::find(name, snapfuzz::fuzzer)? {
            return guest.fuzz(&fuzzer, args.target.as_deref(), args.time, &args.options);
        }
        let close = closest("Targets", name, targets.iter().map(String::as_str));
        return Err(Failure(format!("there is no fuzz target and no guest `{name}`. {close}")));
    }
    if args.target.is_some() {
        return Err(Failure::new("--target names a function of a guest, and no guest is named"));
    }
    tools()?;
    let mut found = false;
    for target in chosen {
        found |= !run(target, args)?;
    }
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The names of all targets, in order.
fn targets() -> Result<Vec<String>, Failure> {
    let directory = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&directory);
    let entries = entries.map_err(|error| Failure::file("read", &directory, error))?;
    let paths = entries.flatten().map(|it| it.path());
    let sources = paths.filter(|it| it.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<String> =
        sources.filter_map(|it| Some(it.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Sees that there are the tools, or says how to get them. Nothing is installed here: a compiler
/// is a lot to be given without having asked for it.
fn tools() -> Result<(), Failure> {
    let works = |words: &[&str]| {
        let output = nightly(words).stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !works(&["rustc", "--version"]) {
        return Err(Failure::new(
            "fuzzing takes the nightly compiler; install it by `rustup toolchain install nightly \
             --profile minimal`",
        ));
    }
    if !works(&["cargo", "fuzz", "--version"]) {
        return Err(Failure::new(
            "fuzzing takes cargo-fuzz; install it by `cargo install cargo-fuzz`",
        ));
    }
    Ok(())
}

/// A command by the nightly compiler, without what this cargo has put into the environment.
fn nightly(words: &[&str]) -> Command {
    let ours = cargo("");
    let mut command = Command::new("rustup");
    for (name, value) in ours.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(root()).args(["run", "nightly"]).args(words);
    command
}

/// Builds a target and runs it; whether nothing was found.
fn run(target: &str, args: &Args) -> Result<bool, Failure> {
    let time = args.time;
    let base = target_dir().join("fuzz");
    let binary = build(target, &base)?;
    let (corpus, artifacts) =
        (base.join("corpus").join(target), base.join("artifacts").join(target));
    for directory in [&corpus, &artifacts] {
        let made = std::fs::create_dir_all(directory);
        made.map_err(|error| Failure::file("make", directory, error))?;
    }
    let log = base.join(format!("{target}.log"));
    let mut command = Command::new(&binary);
    command.args(words(target, time, &artifacts)).args(&args.options).arg(&corpus);
    command.arg(root().join("fuzz/seeds").join(target));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    crate::err!("fuzz {target}: {} s, its log is {}", time.as_secs().max(1), shown(&log));
    let mut child = command.spawn().map_err(|error| cannot_start(&command, &error))?;
    let mut file =
        std::fs::File::create(&log).map_err(|error| Failure::file("write", &log, error))?;
    let mut report = Report::default();
    for line in child.stderr.take().into_iter().flat_map(|it| BufReader::new(it).split(b'\n')) {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        report.read(&line);
        // A full disk loses the log, and not the result.
        let _ = writeln!(file, "{line}");
    }
    let status = child.wait().map_err(|error| cannot_start(&command, &error))?;
    let Report { cases, rate, input } = report;
    if status.success() {
        crate::out!("fuzz {target} ... {GOOD}ok{GOOD:#}, {cases} cases, {rate}/s");
        return Ok(true);
    }
    crate::out!("fuzz {target} ... {BAD}FOUND{BAD:#}, {cases} cases, {rate}/s");
    match input {
        Some(input) => {
            let input = PathBuf::from(input);
            crate::out!("  the input: {}", shown(&input));
            crate::out!("  once more: {} {}", shown(&binary), shown(&input));
            crate::out!("  mended, it is kept as fuzz/regressions/{target}/NAME");
        }
        None => crate::out!("  {status}, and no input was written; the log has its last words"),
    }
    Ok(false)
}

/// Has cargo-fuzz build a target, and says where it is.
fn build(target: &str, base: &Path) -> Result<PathBuf, Failure> {
    let mut command = nightly(&["cargo", "fuzz", "build", "--target", HOST]);
    if !limits(target).sanitized {
        command.args(["--sanitizer", "none"]);
    }
    command.arg("--target-dir").arg(base).arg(target);
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    let status = command.status().map_err(|error| cannot_start(&command, &error))?;
    let binary = base.join(HOST).join("release").join(target);
    if !status.success() || !binary.is_file() {
        return Err(Failure(format!(
            "the fuzz target {target} does not build; the compiler says why above (libFuzzer takes \
             a C++ compiler as well: apt-get install g++)"
        )));
    }
    Ok(binary)
}

/// The triple that is fuzzed on: sanitizers want it named.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// libFuzzer's options.
fn words(target: &str, time: Duration, artifacts: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        format!("-max_total_time={}", time.as_secs().max(1)),
        format!("-max_len={}", limits(target).length),
        format!("-timeout={SECONDS}"),
        format!("-malloc_limit_mb={ALLOCATION}"),
        format!("-rss_limit_mb={MEMORY}"),
        "-print_final_stats=1".to_owned(),
    ]
    .map(OsString::from)
    .into();
    let valued = |name: &str, path: &Path| {
        let mut word = OsString::from(name);
        word.push(path);
        word
    };
    // As it stands before the file's name: a directory ends with a slash.
    words.push(valued("-artifact_prefix=", &artifacts.join("")));
    let dictionary = root().join("fuzz").join(format!("{target}.dict"));
    if dictionary.is_file() {
        words.push(valued("-dict=", &dictionary));
    }
    words
}

/// A path as it is from the workspace's root.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// What libFuzzer's words come to.
#[derive(Debug, Default, PartialEq)]
struct Report {
    cases: u64,
    rate: u64,
    input: Option<String>,
}

impl Report {
    fn read(&mut self, line: &str) {
        let number = |text: &str| text.trim().parse().unwrap_or(0);
        if let Some(cases) = line.strip_prefix("stat::number_of_executed_units:") {
            self.cases = number(cases);
        } else if let Some(rate) = line.strip_prefix("stat::average_exec_per_sec:") {
            self.rate = number(rate);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.input = Some(path.to_owned());
        }
    }
}

/// A time as a person writes it: a whole number and a unit.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|it: char| it.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "s" | "sec" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let time = number.zip(seconds).and_then(|(number, seconds)| number.checked_mul(seconds));
    // libFuzzer takes 0 for no end at all, and a larger one for none either.
    match time {
        Some(time @ 1..=0x7fff_ffff) => Ok(Duration::from_secs(time)),
        _ => Err("write a number and a unit, as 60s, 5min or 2h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [("60s", 60), ("1 sec", 1), ("5min", 300), ("3m", 180), ("2h", 7200)]
        {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "60", "s", "-1s", "0s", "1.5h", "1 day", "99999999999h", "9999999h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_target_is_answered_with_the_known() {
        let (name, time) = (Some("exit".to_owned()), Duration::from_secs(1));
        let args = Args { name, target: None, time, options: Vec::new() };
        let Failure(message) = fuzz(&args).expect_err("there is none");
        assert_eq!(
            message,
            "there is no fuzz target and no guest `exit`. Did you mean exits? Targets: calls, dwarf, elf, exits, \
             logs, snapshots"
        );
    }

    #[test]
    fn what_was_found_is_read_from_the_fuzzers_words() {
        let mut report = Report::default();
        for line in [
            "#8\tINITED cov: 949 ft: 1114 corp: 7/2808b exec/s: 0 rss: 39Mb",
            "artifact_prefix='/x/'; Test unit written to /x/crash-1",
            "stat::number_of_executed_units: 985461",
            "stat::average_exec_per_sec:     1231",
        ] {
            report.read(line);
        }
        assert_eq!(report, Report { cases: 985_461, rate: 1231, input: Some("/x/crash-1".into()) });
    }
}
