//! `cargo xtask new`: an experiment in this workspace, or in one of its own.

use crate::cargo::root;
use crate::name::Name;
use crate::template::{self, Made};
use crate::{Failure, halves, programs};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The command line of `new`.
#[derive(clap::Args)]
#[command(after_help = "\
In this workspace it makes guest/examples/NAME.rs and NAME.out, the interface guest/calls/src/NAME.rs
and host/examples/NAME.rs: `cargo xtask run NAME` runs them.

With --at it makes a workspace of its own: guest, host with the guest's image inside, the interface,
and a `cargo xtask` with run, build and test. It uses this checkout of Portcall by its path. Its
program is called NAME, or as PATH's last part if no NAME is given.

A name is lower-case letters and digits, a letter first, with single - or _ between them.")]
pub(crate) struct Args {
    /// What it is called
    #[arg(required_unless_present = "at")]
    name: Option<String>,
    /// Make a workspace of its own in this directory, which is new or empty
    #[arg(long, value_name = "PATH")]
    at: Option<PathBuf>,
}

/// Makes what was asked for, and says what to do next.
pub(crate) fn new(args: &Args) -> Result<ExitCode, Failure> {
    match (&args.at, &args.name) {
        (Some(at), name) => workspace(at, name.as_deref())?,
        (None, Some(name)) => experiment(name)?,
        (None, None) => return Err(Failure::new("name it: cargo xtask new NAME")),
    }
    Ok(ExitCode::SUCCESS)
}

/// `new NAME`.
fn experiment(name: &str) -> Result<(), Failure> {
    let name = Name::parse(name, &lock()?)?;
    let programs = programs::all()?;
    let known = programs.iter().map(|it| it.name.as_str());
    let halves = halves::names()?;
    if let Some(other) = known.chain(halves.iter().map(String::as_str)).find(|it| name.is_like(it))
    {
        return Err(Failure(format!(
            "there is an experiment `{other}` already; choose another name"
        )));
    }
    let files = template::experiment(&name);
    for file in &files {
        // A module may be a directory, too.
        let path = root().join(&file.path);
        for path in [path.with_extension(""), path] {
            if path.symlink_metadata().is_ok() {
                let path = path.display();
                return Err(Failure(format!("there is a {path} already; choose another name")));
            }
        }
    }
    let index = root().join(INDEX);
    let text = fs::read_to_string(&index).map_err(|it| Failure::file("read", &index, it))?;
    let with_ours = with_module(&text, &name.module());

    write_all(root(), &files)?;
    fs::write(&index, with_ours).map_err(|error| unfinished(&index, &error, root(), &files))?;
    say(files.iter().map(|it| (&*it.path, it.what)).chain([(INDEX, "which names the interface")]));
    crate::out!("next:");
    for deed in ["run", "test"] {
        crate::out!("  cargo xtask {deed} {}", name.as_str());
    }
    Ok(())
}

/// Where the interfaces are listed.
const INDEX: &str = "guest/calls/src/lib.rs";

/// The list of modules with one more, in its place.
fn with_module(index: &str, module: &str) -> String {
    let ours = format!("pub mod {module};\n");
    let lines: Vec<&str> = index.split_inclusive('\n').collect();
    let is_behind = |line: &&str| line.starts_with("pub mod ") && **line > *ours;
    let last = || lines.iter().rposition(|line| line.starts_with("pub mod ")).map(|it| it + 1);
    let place = lines.iter().position(is_behind).or_else(last).unwrap_or(lines.len());
    let (before, behind) = lines.split_at(place);
    before.concat() + &ours + &behind.concat()
}

/// `new --at PATH`.
fn workspace(at: &Path, name: Option<&str>) -> Result<(), Failure> {
    let home = std::path::absolute(at).map_err(|error| Failure::file("use", at, error))?;
    let lock = lock()?;
    let name = match name.or_else(|| home.file_name()?.to_str()) {
        Some(text) => Name::parse(text, &lock).map_err(|Failure(why)| {
            let hint = format!("; or name the program: cargo xtask new NAME --at {}", in_shell(at));
            Failure(why + if name.is_none() { &hint } else { "" })
        })?,
        None => {
            return Err(Failure(format!(
                "{} does not end in a name; give one: cargo xtask new NAME --at PATH",
                at.display()
            )));
        }
    };
    must_be_usable(&home)?;
    let files = template::workspace(&name, &toml_text(root())?, lock);
    write_all(&home, &files)?;
    say(files.iter().map(|it| (&*it.path, it.what)));
    crate::out!("next:\n  cd {}\n  cargo xtask run\n  cargo xtask test", in_shell(at));
    Ok(())
}

/// The versions of all crates, which a new workspace shares: nothing else needs to be fetched.
fn lock() -> Result<String, Failure> {
    let path = root().join("Cargo.lock");
    fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, error))
}

/// Makes sure that the directory is there, that nobody's files are in it, and that cargo can
/// work there.
fn must_be_usable(home: &Path) -> Result<(), Failure> {
    let refused = |what: &str| {
        let home = home.display();
        Err(Failure(format!("{home} {what}; name a directory that is new or empty")))
    };
    if home.as_os_str().as_encoded_bytes().contains(&b':') {
        return Err(Failure(format!(
            "{}: cargo cannot build where a path has a `:`; name another",
            home.display()
        )));
    }
    match home.read_dir().map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => refused("is not empty"),
        Err(error) if error.kind() == ErrorKind::NotADirectory => refused("is not a directory"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(home).map_err(|error| {
                let Failure(why) = Failure::file("create", home, error);
                Failure(why + "; name a directory where you may write")
            })
        }
        Err(error) => Err(Failure::file("read", home, error)),
    }
}

/// A path as it stands between the quotes of a TOML text.
fn toml_text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|it| !it.contains(char::is_control)).ok_or_else(|| {
        let path = path.display();
        Failure(format!("{path}: Cargo.toml cannot name such a path; move this checkout"))
    })?;
    Ok(text.replace('\\', r"\\").replace('"', "\\\""))
}

/// A path as a shell reads it.
fn in_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |it: char| it.is_alphanumeric() || "/._-+".contains(it);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Writes files that are not there yet. What was written stays if one cannot be: it is named, and
/// its author decides.
fn write_all(home: &Path, files: &[Made]) -> Result<(), Failure> {
    for (index, file) in files.iter().enumerate() {
        let path = home.join(&file.path);
        let folder = path.parent().unwrap_or(home);
        // A script is to be started.
        let mode = if file.text.starts_with("#!") { 0o777 } else { 0o666 };
        let written = fs::create_dir_all(folder)
            .and_then(|()| File::options().write(true).create_new(true).mode(mode).open(&path))
            .and_then(|mut it| it.write_all(file.text.as_bytes()));
        written.map_err(|error| unfinished(&path, &error, home, &files[..index]))?;
    }
    Ok(())
}

/// The failure of a file that could not be written, when others were.
fn unfinished(path: &Path, error: &std::io::Error, home: &Path, written: &[Made]) -> Failure {
    let Failure(mut message) = Failure::file("write", path, error);
    if !written.is_empty() {
        message += "; written so far, to be removed before another try:";
        for file in written {
            message += &format!("\n  {}", home.join(&file.path).display());
        }
    }
    Failure(message)
}

/// Says what was made, and what each file is if that needs saying.
fn say<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) {
    crate::out!("made");
    let told: Vec<_> = files.filter(|(_, what)| !what.is_empty()).collect();
    let width = told.iter().map(|(path, _)| path.len()).max().unwrap_or(0);
    for (path, what) in told {
        crate::out!("  {path:width$}  {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_goes_to_its_place() {
        let index = "//! Docs.\n\npub mod b;\npub mod d;\n\nfn f() {}\n";
        for (module, list) in [
            ("a", "pub mod a;\npub mod b;\npub mod d;\n"),
            ("c", "pub mod b;\npub mod c;\npub mod d;\n"),
            ("e", "pub mod b;\npub mod d;\npub mod e;\n"),
        ] {
            assert_eq!(with_module(index, module), format!("//! Docs.\n\n{list}\nfn f() {{}}\n"));
        }
        assert_eq!(with_module("//! Docs.\n", "a"), "//! Docs.\npub mod a;\n");
    }

    #[test]
    fn paths_are_quoted_for_whoever_reads_them() {
        let toml = |path: &str| toml_text(Path::new(path)).map_err(|Failure(message)| message);
        assert_eq!(toml(r#"/a b/"c"\d"#).as_deref(), Ok(r#"/a b/\"c\"\\d"#));
        assert!(toml("/a\nb").expect_err("a line feed").contains("move this checkout"));
        assert_eq!(in_shell(Path::new("/tmp/a-b_c.d")), "/tmp/a-b_c.d");
        assert_eq!(in_shell(Path::new("it's here")), r"'it'\''s here'");
    }

    #[test]
    fn only_new_and_empty_directories_will_do() {
        let folder = crate::cargo::target_dir().join("xtask/tests/new");
        let _ = fs::remove_dir_all(&folder);
        assert_eq!(must_be_usable(&folder.join("none/at/all")), Ok(()));
        assert_eq!(must_be_usable(&folder.join("none/at/all")), Ok(()));
        fs::write(folder.join("file"), "").expect("written");
        let complaint = |path: &Path| must_be_usable(path).expect_err("it is used").0;
        assert!(complaint(&folder).contains("is not empty; name"));
        assert!(complaint(&folder.join("file")).contains("is not a directory; name"));
        assert!(complaint(&folder.join("a:b")).contains("has a `:`; name"));
        assert!(complaint(Path::new("/proc/new")).contains("cannot create /proc/new: "));
    }

    #[test]
    fn nothing_is_overwritten_and_what_was_written_is_named() {
        let home = crate::cargo::target_dir().join("xtask/tests/new-half");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).expect("created");
        fs::write(home.join("b"), "mine").expect("written");
        let made = |path: &str| Made { path: path.to_owned(), text: "new".to_owned(), what: "" };
        let Failure(message) =
            write_all(&home, &[made("a"), made("b"), made("c")]).expect_err("b is there");
        assert!(message.contains("cannot write") && message.contains("to be removed"), "{message}");
        assert!(message.ends_with(&format!("\n  {}", home.join("a").display())), "{message}");
        assert_eq!(fs::read_to_string(home.join("b")).expect("read"), "mine");
        assert!(!home.join("c").exists());
    }
}
