//! Finding guest programs: one file an example, of the guest's package or of the hostile suite.

use crate::Failure;
use crate::cargo::{build_examples, root, target_dir};
use crate::compile::{Compiled, compile};
use crate::directives::{Directives, Wrong};
use crate::target;
use std::fs;
use std::path::{Path, PathBuf};

/// How a guest is built.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Optimized; what to run, as some KVMs emulate every instruction
    Release,
    /// Unoptimized, with debug assertions
    Dev,
}

/// Where guest programs live: kind, package of those in Rust, directory.
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
    /// The package it is an example of; none if its header says how it is built.
    pub(crate) package: Option<&'static str>,
    /// The file with its directives.
    pub(crate) source: PathBuf,
    /// The file with what it prints, if it prints anything.
    pub(crate) golden: PathBuf,
}

impl Program {
    /// Where its image is once it is built.
    pub(crate) fn image(&self, profile: Profile) -> PathBuf {
        if self.package.is_none() {
            return target_dir().join("xtask/guests").join(&self.name);
        }
        let profile = if profile == Profile::Release { "release" } else { "debug" };
        target_dir().join(target::TRIPLE).join(profile).join("examples").join(&self.name)
    }

    /// What its header says.
    pub(crate) fn directives(&self) -> Result<Directives, Failure> {
        let source = &self.source;
        let text = fs::read_to_string(source).map_err(|it| Failure::file("read", source, it))?;
        let wrong =
            |line, message: &str| Failure(format!("{}:{line}: {message}", source.display()));
        let directives =
            Directives::parse(&text).map_err(|Wrong { line, message }| wrong(line, &message))?;
        match (self.package, directives.build.is_empty()) {
            (Some(_), false) => {
                Err(wrong(1, "cargo builds this program; take its `build` directive out"))
            }
            (None, true) => {
                Err(wrong(1, "a guest in C needs a line `//@ build: cc ... -o $OUT $IN`"))
            }
            _ => Ok(directives),
        }
    }
}

/// Builds programs, which all end up at [`Program::image`].
pub(crate) fn build(programs: &[Program], profile: Profile) -> Result<(), Failure> {
    for (_, package, _) in HOMES {
        let ours: Vec<_> = programs.iter().filter(|it| it.package == Some(package)).collect();
        if !ours.is_empty() {
            build_examples(package, &ours, profile)?;
        }
    }
    for program in programs.iter().filter(|it| it.package.is_none()) {
        let source = program.source.display();
        match compile(&program.source, &program.image(profile), &program.directives()?.build)? {
            Compiled::Done(warnings) => {
                if !warnings.is_empty() {
                    crate::err!("{}", warnings.trim_end());
                }
            }
            Compiled::NoCompiler(what) => {
                return Err(Failure(format!("{source}: there is {what} here; install it")));
            }
            Compiled::Failed(how) => return Err(Failure(format!("{source}: {how}"))),
        }
    }
    Ok(())
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
                "{} and {} have the same name; rename one",
                other.source.display(),
                program.source.display()
            )));
        }
    }
    Ok(programs)
}

/// The programs of one directory, which need not exist: NAME.c and, like cargo, NAME.rs and
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
        let package = is_rust(&source).then_some(package);
        programs.push(Program { name: name.to_owned(), kind, package, source, golden });
    }
    Ok(programs)
}

/// A directory entry's main source file, if it is a program.
pub(crate) fn source_of(path: &Path) -> Option<PathBuf> {
    let source = if path.is_dir() { path.join("main.rs") } else { path.to_owned() };
    let is_ours = is_rust(&source) || source.extension()? == "c";
    (is_ours && source.is_file()).then_some(source)
}

/// Whether a source file is cargo's to build.
pub(crate) fn is_rust(source: &Path) -> bool {
    source.extension().is_some_and(|it| it == "rs")
}

/// The program of a name.
pub(crate) fn find(name: &str) -> Result<Program, Failure> {
    let mut programs = all()?;
    match programs.iter().position(|it| it.name == name) {
        Some(index) => Ok(programs.swap_remove(index)),
        None => Err(Failure(unknown(name, programs.iter().map(|it| it.name.as_str())))),
    }
}

/// Says what there is in place of an unknown program.
fn unknown<'a>(name: &str, programs: impl Iterator<Item = &'a str> + Clone) -> String {
    let close = closest("Programs", name, programs);
    format!("there is no guest program `{name}`. {close}")
}

/// Says which name may have been meant, and which `what` there are.
pub(crate) fn closest<'a>(
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let close = names
        .clone()
        .map(|it| (strsim::jaro_winkler(it, name), it))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let list = names.collect::<Vec<_>>().join(", ");
    let list = if list.is_empty() { "none yet" } else { &list };
    let hint = close.map(|(_, it)| format!("Did you mean {it}? ")).unwrap_or_default();
    format!("{hint}{what}: {list}")
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
        assert_eq!((hello.kind, hello.package), ("guest", Some("portcall-guest")));
        assert!(hello.golden.is_file());
    }

    #[test]
    fn a_guest_in_c_is_built_by_its_header_and_elsewhere_than_those_of_cargo() {
        let exercises = find("exercises-c").expect("guest/examples/exercises-c.c");
        assert_eq!((exercises.kind, exercises.package), ("guest", None));
        let directives = exercises.directives().expect("its header is well-formed");
        assert_eq!(directives.build.first().map(String::as_str), Some("cc"));
        assert!(exercises.image(Profile::Release).ends_with("xtask/guests/exercises-c"));
    }

    #[test]
    fn a_build_directive_is_for_c_and_for_c_alone() {
        let complaint = |name: &str, text: &str| {
            let source = target_dir().join("xtask/tests").join(name);
            fs::create_dir_all(source.parent().expect("a directory")).expect("created");
            fs::write(&source, text).expect("written");
            let package = is_rust(&source).then_some("a-package");
            let golden = source.with_extension("out");
            let program = Program { name: "it".to_owned(), kind: "guest", package, source, golden };
            program.directives().map(|_| ()).map_err(|Failure(message)| message)
        };
        assert_eq!(complaint("right.c", "//@ build: cc -o $OUT $IN\n"), Ok(()));
        assert_eq!(complaint("right.rs", "//@ args: a\n"), Ok(()));
        let message = complaint("none.c", "int x;\n").expect_err("no build");
        assert!(
            message
                .ends_with("none.c:1: a guest in C needs a line `//@ build: cc ... -o $OUT $IN`")
        );
        let message = complaint("two.rs", "//@ build: cc\n").expect_err("a build");
        assert!(message.contains("two.rs:1: cargo builds this program"), "{message}");
        let message = complaint("wrong.c", "int x;\n//@ build: cc\n").expect_err("too late");
        assert!(message.contains("wrong.c:2: a directive after"), "{message}");
    }
}
