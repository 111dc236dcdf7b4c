//! The tests in guests (`#[guest::test]`), run by `portcall test` in VMs: this workspace's own, in
//! both rings; and a program of them that is to fail in every way there is, against its golden.

use crate::cargo::{cannot_start, cargo, root, target_dir};
use crate::diff::diff;
use crate::engine::Verdict;
use crate::{Failure, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages whose tests are to pass.
const PACKAGES: [&str; 1] = ["portcall-guest"];

/// The program whose tests are not: its package, and its name there.
const ENDS: (&str, &str) = ("portcall-hostile", "ends");

/// What that is called in the list of results.
pub(crate) const ENDS_LABEL: &str = "guest tests that end in every way";

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
    let image = build()?;
    let golden = root().join("guest/hostile/tests/ends.out");
    let in_ring_0 = run(portcall, &image, "0")?;
    if overwrite {
        fs::write(&golden, &in_ring_0).map_err(|error| Failure::file("write", &golden, error))?;
        return Ok(Verdict::Accepted);
    }
    let wanted = fs::read_to_string(&golden).map_err(|it| Failure::file("read", &golden, it))?;
    if in_ring_0 != wanted {
        return Ok(Verdict::Failed(diff(wanted.as_bytes(), in_ring_0.as_bytes())));
    }
    let in_ring_3 = run(portcall, &image, "3")?;
    let (wanted, found) = (results(&wanted), results(&in_ring_3));
    Ok(if wanted == found {
        Verdict::Passed
    } else {
        Verdict::Failed(format!("in ring 3:\n{}", diff(wanted.as_bytes(), found.as_bytes())))
    })
}

/// Builds the program, and says where it is: cargo puts a hash of its own into the name.
fn build() -> Result<PathBuf, Failure> {
    let mut command = cargo_test()?;
    command.args(["--no-run", "--package", ENDS.0, "--test", ENDS.1]);
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.map_err(|error| cannot_start(&command, &error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.trim_start().starts_with("Executable "));
    let path = line.and_then(|line| line.rsplit_once('(')?.1.trim_end().strip_suffix(')'));
    match path {
        Some(path) if output.status.success() => Ok(root().join(path)),
        _ => Err(Failure(format!("the tests {} do not build:\n{said}", ENDS.1))),
    }
}

/// What the tests come to, one by one, without what differs from run to run.
fn run(portcall: &Path, image: &Path, ring: &str) -> Result<String, Failure> {
    let mut command = Command::new(portcall);
    command.arg("test").arg(image).args(["--ring", ring, "--test-threads", "1"]);
    command.env_remove("RUST_TEST_NOCAPTURE").current_dir(root()).stdin(Stdio::null());
    let output = command.output().map_err(|error| cannot_start(&command, &error))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(101) => Ok(settled(&said)),
        code => {
            let why = String::from_utf8_lossy(&output.stderr);
            let built = target_dir();
            Err(Failure(format!(
                "portcall test ended with {code:?} in place of 101 (below {}):\n{said}{why}",
                built.display()
            )))
        }
    }
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
