//! `cargo xtask test PATH`: grades a folder of exercises. The folder has what is expected: NAME.rs or
//! NAME.c with its directives, NAME.out, NAME-host.rs. A submission is another folder, of which only
//! the programs' code is taken: who solves an exercise cannot change what is asked of them.

use crate::cargo::build_host;
use crate::compile::{Compiled, compile};
use crate::directives::{Directives, Wrong};
use crate::engine::{self, Case, DEADLINE, Golden, Image, Verdict};
use crate::programs::closest;
use crate::score::{Emit, Graded, Score};
use crate::single::{self, Trust};
use crate::{Failure, halves, process};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The largest program that is read, in bytes.
const PROGRAM_MAX: u64 = 1 << 20;

/// The text that a guest may print, in bytes, if its exercise does not limit it.
const CONSOLE_MAX: &str = "console=1000000";

/// The fewest samples that are a measurement, and the longest time of one that is plausible, in
/// nanoseconds: nothing that a guest does once takes a second.
const SAMPLES_MIN: usize = 50;
const PLAUSIBLE_NS: f64 = 1e9;

/// What is graded.
struct Exercise<'a> {
    /// Where the expectations are.
    folder: &'a Path,
    /// Where the programs are, if not there.
    submission: Option<&'a Path>,
    /// The programs' file name.
    file: OsString,
    /// A folder for what is built of it.
    place: PathBuf,
}

/// Grades all exercises of a folder.
pub(crate) fn grade(
    folder: &Path,
    submission: Option<&Path>,
    emit: &[String],
    overwrite: bool,
) -> Result<ExitCode, Failure> {
    let emit = Emit::parse(emit)?;
    let files = exercises(folder)?;
    if let Some(submission) = submission.filter(|it| !it.is_dir()) {
        return Err(Failure(format!("{} is not a directory", submission.display())));
    }
    single::build_libraries()?;
    let mut hosts = Hosts::default();
    let mut score = Score::new(folder, submission, emit);
    let whose = submission.unwrap_or(folder);
    let place = single::place_for(&std::path::absolute(whose).unwrap_or_else(|_| whose.into()));
    // Of this grading alone: another one may be at work on the same submission.
    let place = place.join(std::process::id().to_string());
    for (index, file) in files.into_iter().enumerate() {
        let place = place.join(format!("exercise-{index}"));
        let exercise = Exercise { folder, submission, file, place };
        score.take(exercise.graded(&mut hosts, overwrite));
    }
    // What was built is of no use to anyone; if it cannot be removed, it is no harm either.
    let _ = fs::remove_dir_all(&place);
    score.conclude()
}

/// The exercises' files, in order.
fn exercises(folder: &Path) -> Result<Vec<OsString>, Failure> {
    let entries = folder.read_dir().map_err(|error| Failure::file("read", folder, error))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|error| Failure::file("read", folder, error))?.file_name());
    }
    names.retain(|name| is_program(name));
    names.sort();
    if names.is_empty() {
        return Err(Failure(format!(
            "there is no exercise in {}: it has no NAME.rs and no NAME.c",
            folder.display()
        )));
    }
    Ok(names)
}

fn is_program(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    (bytes.ends_with(b".rs") || bytes.ends_with(b".c")) && !bytes.ends_with(b"-host.rs")
}

impl Exercise<'_> {
    /// What came of it; whatever goes wrong is this exercise's failure alone.
    fn graded(&self, hosts: &mut Hosts, overwrite: bool) -> Graded {
        let mut graded = Graded::new(&self.file);
        let asked = text_of(&self.folder.join(&self.file)).and_then(|text| {
            let directives = Directives::parse(&text).map_err(|Wrong { line, message }| {
                Failure(format!("the exercise is wrong in line {line}: {message}"))
            })?;
            Ok((text, directives))
        });
        let (text, directives) = match asked {
            Ok(asked) => asked,
            Err(Failure(message)) => return graded.failed(message),
        };
        graded.title = directives.title.clone().unwrap_or_default();
        graded.of = directives.points.unwrap_or(1);
        let solution = match self.submission {
            None => text,
            Some(submission) => match self.submitted(submission) {
                Ok(solution) => {
                    let asked = headers(&text);
                    if headers(&solution).iter().any(|it| !asked.contains(it)) {
                        graded.note = "its //@ lines are not the exercise's, which alone hold";
                    }
                    solution
                }
                Err(Failure(message)) => return graded.failed(message),
            },
        };
        let verdict = self
            .case(directives, &solution, hosts, overwrite)
            .and_then(|case| self.run(&case, hosts, overwrite));
        match verdict {
            Ok(Verdict::Passed | Verdict::Differs(_)) => graded.passed(),
            Ok(Verdict::Accepted) => {
                graded.note = "its golden is new";
                graded.passed()
            }
            Ok(Verdict::Skipped(why)) => graded.failed(format!("it was not run: {why}")),
            Ok(Verdict::Failed(how)) | Err(Failure(how)) => graded.failed(how),
        }
    }

    /// The program's text in the submission.
    fn submitted(&self, submission: &Path) -> Result<String, Failure> {
        let path = submission.join(&self.file);
        if path.symlink_metadata().is_ok() {
            return text_of(&path);
        }
        let there = submission.read_dir().into_iter().flatten().flatten().map(|it| it.file_name());
        let names: Vec<String> =
            there.filter(|it| is_program(it)).map(|it| it.to_string_lossy().into_owned()).collect();
        let close =
            closest("Programs", &self.file.to_string_lossy(), names.iter().map(String::as_str));
        Err(Failure(format!("it is not there: {}. {close}", path.display())))
    }

    /// Builds the solution, and what runs it.
    fn case(
        &self,
        directives: Directives,
        solution: &str,
        hosts: &mut Hosts,
        overwrite: bool,
    ) -> Result<Case, Failure> {
        // A copy of it, which nobody changes between two looks, and whose name is ours.
        let (source, image) = (self.place.join("program"), self.place.join("image"));
        let is_rust = self.file.as_encoded_bytes().ends_with(b".rs");
        let source = source.with_extension(if is_rust { "rs" } else { "c" });
        fs::create_dir_all(&self.place).map_err(|it| Failure::file("create", &self.place, it))?;
        fs::write(&source, solution).map_err(|error| Failure::file("write", &source, error))?;
        let compiled = if is_rust {
            let shown = self.submission.unwrap_or(self.folder).join(&self.file);
            let shown = std::path::absolute(&shown).unwrap_or(shown);
            single::compile_guest(
                &source,
                &image,
                &shown,
                Trust::Foreign { seconds: single::SECONDS },
            )?
        } else if directives.build.is_empty() {
            return Err(Failure::new("the exercise is wrong: it has no `//@ build: cc ...`"));
        } else {
            let bounds = single::bounds(single::SECONDS);
            compile(&source, &image, &[bounds, directives.build.clone()].concat())?
        };
        match compiled {
            Compiled::Done(_) => {}
            Compiled::NoCompiler(what) => return Err(Failure(format!("it was not run: {what}"))),
            Compiled::Failed(how) => return Err(Failure(how)),
        }
        let half = self.half(directives.host.as_deref(), hosts)?;
        let golden = self.folder.join(&self.file).with_extension("out");
        let mut directives = directives;
        if !directives.options.iter().any(|it| it.starts_with("console=")) {
            directives.options.extend(["--limit", CONSOLE_MAX].map(str::to_owned));
        }
        Ok(Case {
            label: self.file.to_string_lossy().into_owned(),
            image: Image::Built(image),
            half,
            golden: match directives.output_ignored {
                true => Golden::Ignored,
                false if overwrite => Golden::File(golden),
                false => Golden::Exercise(golden),
            },
            directives,
            differs: None,
        })
    }

    /// Finds and builds the host half: NAME-host.rs beside the exercise, or one of host/examples.
    fn half(&self, asked: Option<&str>, hosts: &mut Hosts) -> Result<Option<String>, Failure> {
        let mut file = match asked {
            Some(name) => OsString::from(name),
            None => Path::new(&self.file).file_stem().unwrap_or_default().to_owned(),
        };
        file.push("-host.rs");
        let source = self.folder.join(&file);
        if source.is_file() {
            let key = source.to_string_lossy().into_owned();
            hosts.build_file(&key, &source, &self.place.join("host"))?;
            return Ok(Some(key));
        }
        let name = asked.map(|asked| halves::of(asked, Some(asked))).transpose()?.flatten();
        hosts.build(name.as_deref())?;
        Ok(name)
    }

    /// Runs it and compares.
    fn run(&self, case: &Case, hosts: &Hosts, overwrite: bool) -> Result<Verdict, Failure> {
        let report = self.place.join("report.json");
        let emit = (!case.directives.measures.is_empty()).then_some(("json", report.as_path()));
        if emit.is_some() {
            let _ = fs::remove_file(&report);
        }
        let host = &hosts.built[&case.half];
        let mut command = engine::command(case, host, 1, emit)?;
        let ran = process::run(&mut command, case.directives.stdin.clone(), DEADLINE)
            .map_err(|error| crate::cargo::cannot_start(&command, &error))?;
        let verdict = engine::judge(case, &ran, overwrite)?;
        if emit.is_none() || matches!(verdict, Verdict::Failed(_)) {
            return Ok(verdict);
        }
        let text = fs::read_to_string(&report).unwrap_or_default();
        let complaint = unmeasured(&text, &case.directives.measures);
        Ok(if complaint.is_empty() { verdict } else { Verdict::Failed(complaint) })
    }
}

/// What of these names the report of a run has no plausible measurement of.
fn unmeasured(report: &str, names: &[String]) -> String {
    let report: serde_json::Value = serde_json::from_str(report).unwrap_or_default();
    let rows = report["measured"]["sampled"].as_array().map_or(&[][..], Vec::as_slice);
    let mut complaint = String::new();
    for name in names {
        let Some(row) = rows.iter().find(|it| it["name"] == name.as_str()) else {
            let there: Vec<&str> = rows.iter().filter_map(|it| it["name"].as_str()).collect();
            complaint +=
                &format!("it measures no `{name}`. {}\n", closest("Rows", name, there.into_iter()));
            continue;
        };
        let samples = row["samples_ns"].as_array().map_or(&[][..], Vec::as_slice);
        let mut times: Vec<f64> = samples.iter().filter_map(serde_json::Value::as_f64).collect();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        if times.len() < SAMPLES_MIN {
            let count = times.len();
            complaint += &format!(
                "`{name}` has {count} samples, which is no measurement: take at least {SAMPLES_MIN}\n"
            );
        } else if !(median > 0.0 && median < PLAUSIBLE_NS) {
            complaint += &format!("`{name}` takes {median:.0} ns, which cannot be\n");
        }
    }
    complaint
}

/// What runs the exercises; each is built when the first one needs it, and its failure is theirs.
#[derive(Default)]
struct Hosts {
    built: BTreeMap<Option<String>, PathBuf>,
}

impl Hosts {
    /// `portcall` itself, or a host half of host/examples.
    fn build(&mut self, half: Option<&str>) -> Result<(), Failure> {
        if let Entry::Vacant(place) = self.built.entry(half.map(str::to_owned)) {
            place.insert(build_host(half)?);
        }
        Ok(())
    }

    /// A host half in a file.
    fn build_file(&mut self, key: &str, source: &Path, program: &Path) -> Result<(), Failure> {
        let key = Some(key.to_owned());
        if self.built.contains_key(&key) {
            return Ok(());
        }
        match single::compile_half(source, program)? {
            Compiled::Done(_) => {
                self.built.insert(key, program.to_owned());
                Ok(())
            }
            Compiled::NoCompiler(how) | Compiled::Failed(how) => {
                Err(Failure(format!("the exercise's host half {}: {how}", source.display())))
            }
        }
    }
}

/// The lines of a program that would say how it is graded.
fn headers(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|it| it.starts_with("//@")).collect()
}

/// The text of a program that may be anything: only a plain file of some size is opened.
fn text_of(path: &Path) -> Result<String, Failure> {
    let refused = |what: &str| Err(Failure(format!("{} {what}", path.display())));
    let failed = |error| Failure::file("read", path, error);
    let metadata = path.symlink_metadata().map_err(failed)?;
    if metadata.is_symlink() {
        return refused("is a symbolic link; hand in the file itself");
    }
    if metadata.is_dir() {
        return refused("is a directory; an exercise is one file");
    }
    if !metadata.is_file() {
        return refused("is no plain file");
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(PROGRAM_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PROGRAM_MAX {
        return refused("has more than 1 MiB, which is no exercise's solution");
    }
    String::from_utf8(bytes).or_else(|error| {
        let at = error.utf8_error().valid_up_to();
        refused(&format!("is not UTF-8: byte {at} is none of a character's"))
    })
}

/// Whether a word of the command line names a folder and not a filter: names of guests have no
/// slash, and what is a folder's path has one, or is `.` or `..`.
pub(crate) fn is_folder(word: &str) -> bool {
    (word.contains('/') || word == "." || word == "..") && Path::new(word).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_measurement_is_there_has_samples_and_is_plausible() {
        let row = |name: &str, samples: Vec<f64>| json!({"name": name, "samples_ns": samples});
        let said = |rows: serde_json::Value| {
            let report = json!({"measured": {"sampled": rows}}).to_string();
            unmeasured(&report, &["an OUT".to_owned()])
        };
        assert_eq!(said(json!([row("other", vec![]), row("an OUT", vec![9000.0; 50])])), "");
        for (rows, wrong) in [
            (
                json!([row("an OUTs", vec![9000.0; 50])]),
                "measures no `an OUT`. Did you mean an OUTs?",
            ),
            (json!([row("an OUT", vec![9000.0; 49])]), "has 49 samples"),
            (json!([row("an OUT", vec![-1.0; 50])]), "which cannot be"),
            (json!([row("an OUT", vec![2e9; 50])]), "which cannot be"),
            (json!(null), "measures no `an OUT`"),
        ] {
            assert!(said(rows).contains(wrong), "{wrong}");
        }
        // A run that left no report behind.
        assert!(!unmeasured("", &["an OUT".to_owned()]).is_empty());
    }

    #[test]
    fn only_paths_are_folders_and_host_halves_are_no_exercises() {
        assert!(is_folder("/") && is_folder("."));
        assert!(!is_folder("hello") && !is_folder("no/such/folder"));
        let program = |name: &str| is_program(OsStr::new(name));
        assert!(program("a.rs") && program("a.c"));
        assert!(!program("a-host.rs") && !program("a.out") && !program("README.md"));
    }
}
