//! `cargo xtask fuzz NAME`, where NAME is a guest's: builds it, and has `portcall fuzz` run it.

use crate::Failure;
use crate::cargo::{build_fuzzer, build_guest_tests, root, target_dir};
use crate::programs::{self, Profile};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// What is fuzzed.
pub(crate) struct Guest {
    name: String,
    /// What its findings are kept by.
    image: PathBuf,
}

impl Guest {
    /// A guest program, or a package with tests in VMs, by its name; nothing where there is none.
    pub(crate) fn find(
        name: &str,
        fuzzer: impl FnOnce() -> Result<PathBuf, Failure>,
    ) -> Result<Option<(Self, PathBuf)>, Failure> {
        let guest = |image: PathBuf| Self { name: name.to_owned(), image };
        if let Some(program) = programs::all()?.into_iter().find(|it| it.name == name) {
            let image = program.image(Profile::Release);
            programs::build(&[program], Profile::Release)?;
            return Ok(Some((guest(image), fuzzer()?)));
        }
        let Some(images) = build_guest_tests(name)? else { return Ok(None) };
        let fuzzer = fuzzer()?;
        let has_any = |image: &PathBuf| {
            let mut list = Command::new(&fuzzer);
            list.arg("fuzz").arg("--list").arg(image);
            list.stderr(Stdio::null()).output().is_ok_and(|it| it.status.success())
        };
        match images.into_iter().find(has_any) {
            Some(image) => Ok(Some((guest(image), fuzzer))),
            None => Err(Failure(format!(
                "no test program of {name} has a function with #[guest::fuzz] in it"
            ))),
        }
    }

    /// Fuzzes it, as long as that.
    pub(crate) fn fuzz(
        &self,
        fuzzer: &Path,
        target: Option<&str>,
        time: Duration,
        words: &[String],
    ) -> Result<ExitCode, Failure> {
        let mut command = Command::new(fuzzer);
        command.arg("fuzz").arg(&self.image).current_dir(root());
        command.args(target.iter().flat_map(|it| ["--target", *it]));
        let says = |option: &str| words.iter().any(|it| it.split('=').next() == Some(option));
        let alone = says("--input") || says("--list");
        if !alone {
            let place = target_dir().join("snapfuzz").join(&self.name);
            let place = target.map_or(place.clone(), |it| place.join(it));
            for option in ["corpus", "crashes"] {
                if !says(&format!("--{option}")) {
                    command.arg(format!("--{option}")).arg(place.join(option));
                }
            }
            if !says("--runs") && !says("--time") {
                command.arg("--time").arg(format!("{}s", time.as_secs().max(1)));
            }
        }
        command.args(words.iter().map(OsString::from));
        crate::cargo::status_of(&mut command)
    }
}

/// Builds `portcall` with the fuzzer, and says where it is.
pub(crate) fn fuzzer() -> Result<PathBuf, Failure> {
    build_fuzzer()
}
