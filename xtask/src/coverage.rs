//! `cargo xtask test --coverage`: the guests' tests once more, with a note of which lines of source
//! they reach.

use crate::cargo::{cannot_start, root, target_dir};
use crate::engine::{self, Case, DEADLINE, Golden, Hosts, Image, Verdict};
use crate::process;
use crate::{Failure, out};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many times as long as else a run may take: each line that is reached is an exit more.
const PATIENCE: u32 = 4;

/// What makes `portcall` one that covers.
pub(crate) fn words() -> [OsString; 2] {
    ["--emit".into(), "coverage=x.info".into()]
}

/// Where all of it goes: what each run has reached, and what comes of them together.
pub(crate) struct Place(PathBuf);

impl Place {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, Failure> {
        let place = target_dir().join("coverage");
        let runs = place.join("runs");
        if runs.exists() {
            fs::remove_dir_all(&runs).map_err(|error| Failure::file("remove", &runs, error))?;
        }
        fs::create_dir_all(&runs).map_err(|error| Failure::file("create", &runs, error))?;
        Ok(Self(place))
    }

    /// What the tests in guests reach.
    pub(crate) fn tests(&self) -> PathBuf {
        self.0.join("runs/tests.info")
    }

    fn run(&self, index: usize) -> PathBuf {
        self.0.join("runs").join(format!("{index}.info"))
    }

    /// Runs one guest. One that cargo did not build has whatever debug information its header asks
    /// its compiler for, which is none.
    pub(crate) fn cover(&self, index: usize, case: &Case, hosts: Hosts<'_>) -> Verdict {
        if let Image::Source { .. } = case.image {
            return Verdict::Skipped("it has no line tables".to_owned());
        }
        let verdict = || {
            let file = self.run(index);
            let emit = Some(("coverage", file.as_path()));
            let mut command = engine::command(case, hosts.own, PATIENCE, emit)?;
            let ran =
                process::run(&mut command, case.directives.stdin.clone(), DEADLINE * PATIENCE)
                    .map_err(|error| cannot_start(&command, &error))?;
            let verdict = engine::judge(case, &ran, false)?;
            let complaint = match &case.golden {
                Golden::File(golden) if verdict == Verdict::Passed => {
                    untrue(&golden.with_extension("rs"), &file)?
                }
                _ => String::new(),
            };
            Ok(if complaint.is_empty() { verdict } else { Verdict::Failed(complaint) })
        };
        verdict().unwrap_or_else(|Failure(message)| Verdict::Failed(message + "\n"))
    }

    /// Puts all runs together, and says what they have reached.
    pub(crate) fn conclude(&self, portcall: &Path, runs: usize) -> Result<(), Failure> {
        let runs = (0..runs).map(|index| self.run(index)).chain([self.tests()]);
        let files: Vec<_> = runs.filter(|it| it.is_file()).collect();
        if files.is_empty() {
            return Err(Failure("no guest has left anything to put together".to_owned()));
        }
        let (lcov, html) = (self.0.join("lcov.info"), self.0.join("index.html"));
        let mut command = Command::new(portcall);
        command.current_dir(root()).arg("coverage").args(files).args(["--title", "all guests"]);
        command.arg("--lcov").arg(&lcov).arg("--html").arg(&html);
        let status = command.status().map_err(|error| cannot_start(&command, &error))?;
        if !status.success() {
            return Err(Failure("portcall coverage failed, and has said why".to_owned()));
        }
        out!("\n{}\n{}", lcov.display(), html.display());
        Ok(())
    }
}

/// What a program's lines end in that say themselves whether they are reached.
const MARKS: [(&str, &str); 2] = [("// reached", "1"), ("// not reached", "0")];

/// Where that is not what was found. The optimiser may have left such a line without code.
fn untrue(program: &Path, lcov: &Path) -> Result<String, Failure> {
    // A guest that is not the program of its golden says nothing.
    let Ok(source) = fs::read_to_string(program) else { return Ok(String::new()) };
    if !MARKS.iter().any(|(mark, _)| source.lines().any(|line| line.ends_with(mark))) {
        return Ok(String::new());
    }
    let found = fs::read_to_string(lcov).map_err(|error| Failure::file("read", lcov, error))?;
    Ok(differences(&source, records_of(&found, program)))
}

/// The records of one source.
fn records_of<'a>(lcov: &'a str, program: &Path) -> &'a str {
    let start = format!("SF:{}\n", program.display());
    let (_, behind) = lcov.split_once(&start).unwrap_or_default();
    behind.split("end_of_record").next().unwrap_or_default()
}

/// Lines that say one thing while the records say another; of each mark one has to be there.
fn differences(source: &str, records: &str) -> String {
    let mut complaint = String::new();
    for (mark, count) in MARKS {
        let mut seen = false;
        for (number, line) in (1..).zip(source.lines()).filter(|(_, line)| line.ends_with(mark)) {
            let start = format!("DA:{number},");
            let Some(found) = records.lines().find_map(|it| it.strip_prefix(&start)) else {
                continue;
            };
            seen = true;
            if found != count {
                complaint += &format!("line {number} has the count {found}: {line}\n");
            }
        }
        if !seen {
            complaint += &format!("no line with the mark `{mark}` has code\n");
        }
    }
    complaint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_what_they_are_are_compared() {
        let source = "a // reached\nb // not reached\nc // reached\nd\n";
        assert_eq!(differences(source, "DA:1,1\nDA:2,0\nDA:4,0\n"), "");
        assert!(differences(source, "DA:1,0\nDA:2,0\n").contains("line 1 has the count 0"));
        assert!(differences(source, "DA:1,1\nDA:3,1\n").contains("`// not reached`"));
        let lcov = "TN:\nSF:/a.rs\nDA:1,1\nend_of_record\nSF:/b.rs\nDA:2,0\nend_of_record\n";
        assert_eq!(records_of(lcov, Path::new("/b.rs")), "DA:2,0\n");
    }
}
