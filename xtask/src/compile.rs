//! Guests that cargo does not build: in C or assembly, each by the command in its header.

use crate::Failure;
use crate::cargo::{cannot_start, root};
use crate::process;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// When a compiler has hung.
const DEADLINE: Duration = Duration::from_secs(120);

/// What came of it.
#[derive(Debug, PartialEq)]
pub(crate) enum Compiled {
    /// The image is there; what the compiler said all the same.
    Done(String),
    /// This machine has no such compiler: its name.
    NoCompiler(String),
    /// What was run, and what it said.
    Failed(String),
}

/// Builds `source` to `image` by a command with `$IN` and `$OUT` in it, which is split at blanks
/// and given to no shell.
pub(crate) fn compile(source: &Path, image: &Path, words: &[String]) -> Result<Compiled, Failure> {
    if let Some(directory) = image.parent() {
        fs::create_dir_all(directory).map_err(|error| Failure::file("create", directory, error))?;
    }
    // An image of an earlier build must not pass for this one's.
    match fs::remove_file(image) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Failure::file("remove", image, error));
        }
        _ => {}
    }
    let fill = |word: &String| {
        word.replace("$IN", &source.to_string_lossy()).replace("$OUT", &image.to_string_lossy())
    };
    let words: Vec<String> = words.iter().map(fill).collect();
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::new("its build command is empty"));
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    let ran = match process::run(&mut command, Vec::new(), DEADLINE) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Compiled::NoCompiler(match program.as_str() {
                "cc" => "no C compiler (cc)".to_owned(),
                _ => format!("no {program} on PATH"),
            }));
        }
        ran => ran.map_err(|error| cannot_start(&command, &error))?,
    };
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if ran.code == Some(0) && image.is_file() {
        return Ok(Compiled::Done(said));
    }
    let why = if ran.code.is_none() { "did not end, and was killed" } else { "does not build" };
    Ok(Compiled::Failed(format!("it {why}: {}\n{said}", words.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::target_dir;

    fn compiled(command: &str) -> Compiled {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let image = target_dir().join("xtask/tests").join(words.join("-").replace('/', "-"));
        compile(&root().join("Cargo.toml"), &image, &words).expect("directories can be made")
    }

    #[test]
    fn a_build_is_done_only_if_its_image_is_there() {
        assert_eq!(compiled("cp $IN $OUT"), Compiled::Done(String::new()));
        for command in ["true $OUT", "cp $IN/nothing $OUT"] {
            let Compiled::Failed(how) = compiled(command) else { unreachable!("{command}") };
            assert!(how.starts_with("it does not build: "), "{how}");
        }
    }

    #[test]
    fn a_compiler_that_is_not_there_is_named() {
        let missing = Compiled::NoCompiler("no no-such-compiler on PATH".to_owned());
        assert_eq!(compiled("no-such-compiler $IN"), missing);
    }
}
