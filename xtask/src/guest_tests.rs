//! The tests in guests (`#[guest::test]`), run by `portcall test` in VMs: this workspace's own, in
//! both rings; and, against goldens, programs of them that are to fail in every way there is, and to be
//! asked for in every way.

use crate::cargo::{cannot_start, cargo, root};
use crate::diff::diff;
use crate::engine::Verdict;
use crate::{Failure, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages whose tests are to pass.
const PACKAGES: [&str; 1] = ["portcall-guest"];

/// The package of programs whose tests are not.
const HOSTILE: &str = "portcall-hostile";

/// Whose tests end in every way; and what that is called in the list of results.
const ENDS: &str = "ends";
pub(crate) const ENDS_LABEL: &str = "guest tests that end in every way";

/// What they are asked for by, and that in the list of results: the program, and words of libtest's.
const WORDS: [(&str, &[&str]); 17] = [
    ("none", &[]),
    ("none", &["--list"]),
    (ENDS, &["no-such-name"]),
    (ENDS, &["--list", "good"]),
    (ENDS, &["--list", "--format", "terse", "--ignored"]),
    (ENDS, &["good"]),
    (ENDS, &["good", "twice"]),
    (ENDS, &["good", "--skip", "second"]),
    (ENDS, &["good::first", "--exact"]),
    (ENDS, &["good", "--exact"]),
    (ENDS, &["good::first", "--nocapture"]),
    (ENDS, &["fails", "--exact", "--nocapture"]),
    (ENDS, &["good::first", "--show-output"]),
    (ENDS, &["good", "--quiet"]),
    (ENDS, &["ignored", "--ignored"]),
    (ENDS, &["ignored", "good", "--include-ignored"]),
    // Of one name, so that their order is none.
    (ENDS, &["twice", "--test-threads", "2"]),
];
pub(crate) const WORDS_LABEL: &str = "guest tests by libtest's words";

/// Cargo's command that runs them, with `portcall` as the runner and some words for it.
pub(crate) fn command(
    portcall: &Path,
    words: &[&str],
    filter: Option<&str>,
) -> Result<Command, Failure> {
    let mut command = cargo_test()?;
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    let words: Vec<String> = words.iter().map(|it| format!(", {it:?}")).collect();
    let runner = format!("[{:?}, \"test\"{}]", portcall.display().to_string(), words.concat());
    command.arg("--config").arg(format!("target.{}.runner={runner}", target::TRIPLE));
    command.args(["--tests", "--no-fail-fast"]).args(filter);
    Ok(command)
}

fn cargo_test() -> Result<Command, Failure> {
    target::ensure()?;
    let mut command = cargo("test");
    command.args(["--release", "--target", target::TRIPLE]);
    Ok(command)
}

/// Compares what the failing ones come to with their golden: all that is said in ring 0; in ring 3,
/// where faults have other words, the results.
pub(crate) fn ends(portcall: &Path, overwrite: bool) -> Result<Verdict, Failure> {
    let image = build(ENDS)?;
    let in_ring = |ring| match run(portcall, &image, &["--ring", ring, "--test-threads", "1"])? {
        (Some(101), said) => Ok(said),
        (code, said) => {
            Err(Failure(format!("portcall test ended with {code:?} in place of 101:\n{said}")))
        }
    };
    let in_ring_0 = in_ring("0")?;
    let verdict = compare("ends.out", &in_ring_0, overwrite)?;
    if verdict != Verdict::Passed {
        return Ok(verdict);
    }
    let in_ring_3 = in_ring("3")?;
    let (wanted, found) = (results(&in_ring_0), results(&in_ring_3));
    Ok(if wanted == found {
        Verdict::Passed
    } else {
        Verdict::Failed(format!("in ring 3:\n{}", diff(wanted.as_bytes(), found.as_bytes())))
    })
}

/// Compares what tests come to with their golden where they are asked for in every way: what is said, and
/// the process's code.
pub(crate) fn words(portcall: &Path, overwrite: bool) -> Result<Verdict, Failure> {
    let (ends, none) = (build(ENDS)?, build("none")?);
    let mut all = String::new();
    for (name, words) in WORDS {
        let image = if name == ENDS { &ends } else { &none };
        let (code, said) = run(portcall, image, words)?;
        let code = code.map_or_else(|| "a signal".to_owned(), |it| it.to_string());
        all += &format!("$ portcall test {name} {}\n{said}code {code}\n\n", words.join(" "));
    }
    compare("words.out", &all, overwrite)
}

fn compare(golden: &str, found: &str, overwrite: bool) -> Result<Verdict, Failure> {
    let golden = root().join("guest/hostile/tests").join(golden);
    if overwrite {
        fs::write(&golden, found).map_err(|error| Failure::file("write", &golden, error))?;
        return Ok(Verdict::Accepted);
    }
    let wanted = fs::read_to_string(&golden).map_err(|it| Failure::file("read", &golden, it))?;
    Ok(match wanted == found {
        true => Verdict::Passed,
        false => Verdict::Failed(diff(wanted.as_bytes(), found.as_bytes())),
    })
}

/// Builds a program, and says where it is: cargo puts a hash of its own into the name.
fn build(name: &str) -> Result<PathBuf, Failure> {
    let mut command = cargo_test()?;
    command.args(["--no-run", "--package", HOSTILE, "--test", name]);
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.map_err(|error| cannot_start(&command, &error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.trim_start().starts_with("Executable "));
    let path = line.and_then(|line| line.rsplit_once('(')?.1.trim_end().strip_suffix(')'));
    match path {
        Some(path) if output.status.success() => Ok(root().join(path)),
        _ => Err(Failure(format!("the tests {name} do not build:\n{said}"))),
    }
}

/// What tests come to: the process's code, and what they say on stdout, without what differs from run to
/// run.
fn run(portcall: &Path, image: &Path, words: &[&str]) -> Result<(Option<i32>, String), Failure> {
    let mut command = Command::new(portcall);
    command.arg("test").arg(image).args(words).current_dir(root()).stdin(Stdio::null());
    // One at a time where nothing else is said, so that their order is theirs.
    command.env_remove("RUST_TEST_NOCAPTURE").env("RUST_TEST_THREADS", "1");
    let output = command.output().map_err(|error| cannot_start(&command, &error))?;
    Ok((output.status.code(), settled(&String::from_utf8_lossy(&output.stdout))))
}

/// Up to the first failure's text.
fn results(text: &str) -> &str {
    text.split("\nfailures:").next().unwrap_or_default()
}

/// Leaves out what differs from run to run and from compiler to compiler: times, registers, addresses,
/// and frames that are not the tests' own, and what they say of the library's source; of lines that repeat one is left.
fn settled(text: &str) -> String {
    let mut settled: Vec<String> = Vec::new();
    let mut in_registers = false;
    // The line of source where a guest was stopped, if that is the library's.
    let mut in_library = false;
    for line in text.lines() {
        in_library = match line.strip_prefix("  --> ") {
            Some(place) => !place.starts_with("guest/hostile/tests"),
            None => in_library && line.starts_with(' ') && line.contains(" |"),
        };
        in_registers = match line {
            "registers:" => true,
            _ => in_registers && line.starts_with("  ") && line.contains(" 0x"),
        };
        let is_frame = line.split_once(": ").is_some_and(|(number, _)| {
            number.starts_with(' ') && number.trim_start().parse::<u32>().is_ok()
        });
        let is_place = line.starts_with("        at ") && !line.contains("guest/hostile/tests");
        let is_address =
            line.starts_with("   = at 0x") || line.ends_with(" bytes are left out ...");
        if in_registers || in_library || is_frame || is_place || is_address || is_cut(line) {
            continue;
        }
        let line = match line.split_once("; finished in ") {
            Some((sums, _)) => sums.to_owned(),
            None => without_addresses(line),
        };
        if settled.last() != Some(&line) || line.is_empty() {
            settled.push(line);
        }
    }
    settled.join("\n") + "\n"
}

/// Addresses, which are where the linker has put things, as `0x_`.
fn without_addresses(line: &str) -> String {
    let mut pieces = line.split("0x");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text += "0x_";
        text += piece.trim_start_matches(|it: char| it.is_ascii_hexdigit());
    }
    text
}

/// A piece of the line that is printed on and on: where its middle was left out, or it was ended.
fn is_cut(line: &str) -> bool {
    const WHOLE: usize = "on and on and on and on and on and on and on and on and on and on".len();
    let is_of_it = "on and on and on and ".repeat(5).contains(line.trim());
    is_of_it && !line.is_empty() && line.len() < WHOLE
}

#[cfg(test)]
mod tests {
    use super::{results, settled};

    #[test]
    fn what_differs_from_run_to_run_is_left_out() {
        let text = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nx\nx\nerror: y at 0xf00\n   = at 0x10: \
                    ud2\nbacktrace:\n   0: a (inlined)\n        at guest/hostile/tests/ends.rs:1:2\n   \
                    1: core::b\n        at library/core/b.rs:3:4\nregisters:\n     rax 0x1\nthe end\n\
                    test result: FAILED. 0 passed; finished in 0.5s\n";
        assert_eq!(
            settled(text),
            "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nx\nerror: y at 0x_\nbacktrace:\n        at \
             guest/hostile/tests/ends.rs:1:2\nthe end\ntest result: FAILED. 0 passed\n"
        );
        assert_eq!(results(&settled(text)), "test a ... FAILED\n");
    }
}
