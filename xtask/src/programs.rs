//! Finding guest programs: one file an example, of the guest's package or of the hostile suite.

use crate::Failure;
use crate::cargo::{root, target_dir};
use crate::target;
use std::path::{Path, PathBuf};

/// How a guest is built.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Optimized; what to run, as some KVMs emulate every instruction
    Release,
    /// Unoptimized, with debug assertions
    Dev,
}

/// Where guest programs live: kind, package, directory.
const HOMES: [(&str, &str, &str); 2] = [
    ("guest", "portcall-guest", "guest/examples"),
    ("hostile", "portcall-hostile", "guest/hostile/examples"),
];

/// A guest program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The example's name.
    pub(crate) name: String,
    /// `guest`, or `hostile`: one that attacks its host.
    pub(crate) kind: &'static str,
    /// The package it is an example of.
    pub(crate) package: &'static str,
    /// The file with its directives.
    pub(crate) source: PathBuf,
    /// The file with what it prints, if it prints anything.
    pub(crate) golden: PathBuf,
}

impl Program {
    /// Where its image is once it is built.
    pub(crate) fn image(&self, profile: Profile) -> PathBuf {
        let profile = if profile == Profile::Release { "release" } else { "debug" };
        target_dir().join(target::TRIPLE).join(profile).join("examples").join(&self.name)
    }
}

/// All guest programs, by kind and name.
pub(crate) fn all() -> Result<Vec<Program>, Failure> {
    let mut programs: Vec<Program> = Vec::new();
    for home in HOMES {
        let mut found = of_home(home)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        programs.append(&mut found);
    }
    for (index, program) in programs.iter().enumerate() {
        if let Some(other) = programs[..index].iter().find(|it| it.name == program.name) {
            return Err(Failure(format!(
                "{} and {} build to the same file; rename one",
                other.source.display(),
                program.source.display()
            )));
        }
    }
    Ok(programs)
}

/// The programs of one directory, which need not exist. Like cargo, takes NAME.rs and
/// NAME/main.rs.
fn of_home(
    (kind, package, home): (&'static str, &'static str, &str),
) -> Result<Vec<Program>, Failure> {
    let home = root().join(home);
    if !home.is_dir() {
        return Ok(Vec::new());
    }
    let entries = home.read_dir().map_err(|error| Failure::file("read", &home, error))?;
    let mut programs = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Failure::file("read", &home, error))?.path();
        let Some(source) = source_of(&path) else { continue };
        let Some(name) = path.file_stem().and_then(|it| it.to_str()) else { continue };
        let golden = home.join(format!("{name}.out"));
        programs.push(Program { name: name.to_owned(), kind, package, source, golden });
    }
    Ok(programs)
}

/// A directory entry's main source file, if it is a program.
fn source_of(path: &Path) -> Option<PathBuf> {
    let source = if path.is_dir() { path.join("main.rs") } else { path.to_owned() };
    (source.extension()? == "rs" && source.is_file()).then_some(source)
}

/// The program of a name.
pub(crate) fn find(name: &str) -> Result<Program, Failure> {
    let mut programs = all()?;
    match programs.iter().position(|it| it.name == name) {
        Some(index) => Ok(programs.swap_remove(index)),
        None => Err(Failure(unknown(name, programs.iter().map(|it| it.name.as_str())))),
    }
}

/// Says what there is in place of an unknown name.
fn unknown<'a>(name: &str, programs: impl Iterator<Item = &'a str> + Clone) -> String {
    let close = programs
        .clone()
        .map(|it| (strsim::jaro_winkler(it, name), it))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let list = programs.collect::<Vec<_>>().join(", ");
    let list = if list.is_empty() { "none yet; write guest/examples/NAME.rs" } else { &list };
    let hint = close.map(|(_, it)| format!("Did you mean {it}? ")).unwrap_or_default();
    format!("there is no guest program `{name}`. {hint}Programs: {list}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_gets_the_close_one_and_the_list() {
        let names = ["fault", "hello"];
        assert_eq!(
            unknown("helo", names.into_iter()),
            "there is no guest program `helo`. Did you mean hello? Programs: fault, hello"
        );
        assert_eq!(
            unknown("zzz", names.into_iter()),
            "there is no guest program `zzz`. Programs: fault, hello"
        );
    }

    #[test]
    fn hello_is_a_guest_program() {
        let hello = find("hello").expect("guest/examples/hello.rs");
        assert_eq!((hello.kind, hello.package), ("guest", "portcall-guest"));
        assert!(hello.golden.is_file());
    }
}
