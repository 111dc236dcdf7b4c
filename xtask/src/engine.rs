//! The directive engine: builds one guest if that is up to it, runs it, and compares what it
//! did with what its header and its golden say.

use crate::Failure;
use crate::again::again;
use crate::cargo::root;
use crate::compile::{Compiled, compile};
use crate::diff::diff;
use crate::directives::Directives;
use crate::process::{self, Ran};
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One guest to run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is called in the list of results.
    pub(crate) label: String,
    /// What is run.
    pub(crate) image: Image,
    /// The host half that runs it; `portcall` itself if there is none.
    pub(crate) half: Option<String>,
    /// How, and what is expected.
    pub(crate) directives: Directives,
    /// What it must print.
    pub(crate) golden: Golden,
    /// Why this KVM makes it end otherwise than its header says, if the directives are not the
    /// header's.
    pub(crate) differs: Option<&'static str>,
}

/// Where a guest's image comes from.
#[derive(Clone, Debug)]
pub(crate) enum Image {
    /// Cargo built it.
    Built(PathBuf),
    /// Its header says how `file` is built to `image`.
    Source {
        /// What is written to `file` first, if a document holds the program.
        text: Option<String>,
        /// The program.
        file: PathBuf,
        /// Where its build goes.
        image: PathBuf,
    },
}

impl Image {
    /// The file that is run.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Built(image) | Self::Source { image, .. } => image,
        }
    }
}

impl Case {
    /// The same guest in both rings, unless its header names one: same output, same end.
    pub(crate) fn in_both_rings(self) -> Vec<Self> {
        if self.directives.ring.is_some() {
            return vec![self];
        }
        let mut user = self.clone();
        user.label += " (ring 3)";
        user.directives.ring = Some("3".to_owned());
        if let Image::Source { text, file, image } = &mut user.image {
            // Each is built where the other is not.
            let file = text.is_some().then_some(file);
            for path in file.into_iter().chain([image]) {
                let name = path.file_name().unwrap_or_default().display().to_string();
                path.set_file_name(format!("ring-3-{name}"));
            }
        }
        vec![self, user]
    }
}

/// What a guest must print.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Golden {
    /// The file's bytes; nothing if there is no such file.
    File(PathBuf),
    /// The same of an exercise, which is not for who solves it to change.
    Exercise(PathBuf),
    /// A document's text, which always ends in a line feed.
    Document(String),
    /// Anything.
    Ignored,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// As expected.
    Passed,
    /// As expected but for the output, which is the golden now.
    Accepted,
    /// As expected on this KVM, which is not as its header says: why.
    Differs(&'static str),
    /// This machine cannot build it: why.
    Skipped(String),
    /// Not as expected: how.
    Failed(String),
}

/// For `portcall --timeout`, where the program does not say.
pub(crate) const TIMEOUT: &str = "10s";

/// When portcall itself is killed: it has hung past any deadline of its own.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What runs guests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hosts<'a> {
    /// The guest's host half, or `portcall` itself.
    pub(crate) own: &'a Path,
    /// `portcall` itself, which replays.
    pub(crate) stock: &'a Path,
}

/// Runs one guest, and once more recorded and replayed. `overwrite` makes a golden file of what it
/// printed, if all else is right.
pub(crate) fn run(case: &Case, hosts: Hosts<'_>, overwrite: bool) -> Verdict {
    let verdict = || {
        if let Some(verdict) = build(case)? {
            return Ok(verdict);
        }
        let mut command = command(case, hosts.own, 1, None)?;
        let ran = process::run(&mut command, case.directives.stdin.clone(), DEADLINE)
            .map_err(|error| crate::cargo::cannot_start(&command, &error))?;
        let verdict = judge(case, &ran, overwrite)?;
        if matches!(verdict, Verdict::Failed(_)) || case.directives.no_replay {
            return Ok(verdict);
        }
        let complaint = again(case, hosts)?;
        Ok(if complaint.is_empty() { verdict } else { Verdict::Failed(complaint) })
    };
    verdict().unwrap_or_else(|Failure(message)| Verdict::Failed(message + "\n"))
}

/// Builds what cargo does not; a verdict if there is nothing to run then.
pub(crate) fn build(case: &Case) -> Result<Option<Verdict>, Failure> {
    let Image::Source { text, file, image } = &case.image else { return Ok(None) };
    if let Some(text) = text {
        write(text, file)?;
    }
    Ok(match compile(file, image, &case.directives.build)? {
        Compiled::Done(_) => None,
        Compiled::NoCompiler(what) => Some(Verdict::Skipped(what)),
        Compiled::Failed(how) => Some(Verdict::Failed(how)),
    })
}

/// Compares what a guest did with what is expected of it.
pub(crate) fn judge(case: &Case, ran: &Ran, overwrite: bool) -> Result<Verdict, Failure> {
    let mut complaint = ended(&case.directives, ran);
    let mut accepted = false;
    let expected = case.golden.expected(&ran.stdout)?;
    if expected != ran.stdout {
        match &case.golden {
            Golden::File(path) if overwrite && complaint.is_empty() => {
                accept(path, &ran.stdout)?;
                accepted = true;
            }
            golden => complaint += &golden.complaint(&expected, &ran.stdout),
        }
    }
    if complaint.is_empty() {
        return Ok(match case.differs {
            _ if accepted => Verdict::Accepted,
            Some(why) => Verdict::Differs(why),
            None => Verdict::Passed,
        });
    }
    let stderr = String::from_utf8_lossy(&ran.stderr);
    if !stderr.trim().is_empty() {
        complaint += "portcall's stderr:\n";
        for line in stderr.lines() {
            // Writing to a String does not fail, here and below.
            let _ = writeln!(complaint, "  {line}");
        }
    }
    Ok(Verdict::Failed(complaint))
}

/// The command that runs a guest as its directives say, with timeouts `patience` times as long;
/// with an `--emit` of that kind, to that file.
pub(crate) fn command(
    case: &Case,
    portcall: &Path,
    patience: u32,
    emit: Option<(&str, &Path)>,
) -> Result<Command, Failure> {
    let directives = &case.directives;
    let mut command = Command::new(portcall);
    command.current_dir(root()).arg("run").arg(case.image.path());
    if directives.stderr.is_empty() {
        command.arg("--quiet");
    }
    let timeout = directives.timeout.as_deref().unwrap_or(TIMEOUT);
    command.arg("--timeout").arg(longer(timeout, patience)?);
    for (option, value) in [("--memory", &directives.memory), ("--ring", &directives.ring)] {
        if let Some(value) = value {
            command.args([option, value]);
        }
    }
    for item in &directives.expect {
        command.args(["--expect", item]);
    }
    command.args(&directives.options);
    if let Some((kind, file)) = emit {
        command.arg("--emit").arg(format!("{kind}={}", file.display()));
    }
    if !directives.args.is_empty() {
        command.arg("--").args(&directives.args);
    }
    Ok(command)
}

/// A time such as `300ms`, `patience` times as long.
fn longer(time: &str, patience: u32) -> Result<String, Failure> {
    let unit = time.find(|it: char| !it.is_ascii_digit()).unwrap_or(time.len());
    let (number, unit) = time.split_at(unit);
    let number = number.parse::<u32>().ok().and_then(|it| it.checked_mul(patience));
    let number = number.filter(|_| unit.chars().all(|it| it.is_ascii_alphabetic()));
    let number = number.ok_or_else(|| {
        Failure(format!("`//@ timeout: {time}`: write a whole number and a unit, as 300ms or 2s"))
    })?;
    Ok(format!("{number}{unit}"))
}

/// What is wrong with the end of a run and with what portcall said, if anything is.
fn ended(directives: &Directives, ran: &Ran) -> String {
    let mut complaint = String::new();
    match ran.code {
        None => complaint += "hang: it did not even end at its own timeout, and was killed\n",
        Some(code) if code != i32::from(directives.code()) => {
            let _ = writeln!(complaint, "process code {code}, expected {}", directives.code());
        }
        Some(_) => {}
    }
    let stderr = String::from_utf8_lossy(&ran.stderr);
    for wanted in directives.stderr.iter().filter(|it| !stderr.contains(it.as_str())) {
        let _ = writeln!(complaint, "portcall's stderr does not contain: {wanted}");
    }
    complaint
}

impl Golden {
    /// The bytes that a guest which printed `printed` should have printed.
    fn expected(&self, printed: &[u8]) -> Result<Vec<u8>, Failure> {
        match self {
            Self::File(path) | Self::Exercise(path) => match fs::read(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                read => read.map_err(|error| Failure::file("read", path, error)),
            },
            Self::Document(text) => {
                // A fenced block cannot say that the last line feed is missing.
                let open = text.strip_suffix('\n').filter(|it| it.as_bytes() == printed);
                Ok(open.unwrap_or(text).into())
            }
            Self::Ignored => Ok(printed.to_owned()),
        }
    }

    /// How the output differs.
    fn complaint(&self, expected: &[u8], printed: &[u8]) -> String {
        let place = match self {
            Self::File(path) if !path.is_file() => {
                let path = path.strip_prefix(root()).unwrap_or(path).display();
                format!("it printed something, but there is no {path} (--overwrite writes it)")
            }
            Self::File(path) => {
                let path = path.strip_prefix(root()).unwrap_or(path).display();
                format!("the output is not {path}'s (--overwrite accepts it)")
            }
            Self::Exercise(path) => {
                let name = path.file_name().unwrap_or_default().display().to_string();
                format!("the output is not that of {name}")
            }
            Self::Document(_) | Self::Ignored => {
                "the output is not that of the block behind it".to_owned()
            }
        };
        format!("{place}\n{}", diff(expected, printed))
    }
}

/// Makes the output the golden; no output needs no file.
fn accept(golden: &Path, printed: &[u8]) -> Result<(), Failure> {
    if printed.is_empty() {
        fs::remove_file(golden).map_err(|error| Failure::file("remove", golden, error))
    } else {
        fs::write(golden, printed).map_err(|error| Failure::file("write", golden, error))
    }
}

/// Writes a document's guest to a file of its own.
fn write(text: &str, file: &Path) -> Result<(), Failure> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(|error| Failure::file("create", directory, error))?;
    }
    fs::write(file, text).map_err(|error| Failure::file("write", file, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_keeps_its_unit_and_must_be_a_whole_number() {
        assert_eq!(longer("300ms", 4), Ok("1200ms".to_owned()));
        assert_eq!(longer("2s", 1), Ok("2s".to_owned()));
        for time in ["1.5s", "s", "", "4294967295s"] {
            let Failure(message) = longer(time, 2).expect_err(time);
            assert!(message.contains("write a whole number and a unit"), "{message}");
        }
    }
}
