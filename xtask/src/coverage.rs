//! `cargo xtask test --coverage`: the guests' tests once more, with a note of which lines of source
//! they reach.

use crate::cargo::{cannot_start, root, target_dir};
use crate::engine::{self, Case, DEADLINE, Hosts, Image, Verdict};
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
            engine::judge(case, &ran, false)
        };
        verdict().unwrap_or_else(|Failure(message)| Verdict::Failed(message + "\n"))
    }

    /// Puts all runs together, and says what they have reached.
    pub(crate) fn conclude(&self, portcall: &Path, runs: usize) -> Result<(), Failure> {
        let files: Vec<_> =
            (0..runs).map(|index| self.run(index)).filter(|it| it.is_file()).collect();
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
