//! Programs in one file that are no package's: a guest is compiled by rustc against the libraries of
//! guests alone, a host half against those of hosts. Nothing else of the file's is built or run: no
//! build script, no macro of its own.

use crate::Failure;
use crate::cargo::{self, cannot_start, root, target_dir};
use crate::compile::Compiled;
use crate::process;
use crate::target::TRIPLE;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What .cargo/config.toml says for guests, which rustc alone does not read.
const GUEST_FLAGS: [&str; 3] =
    ["-Crelocation-model=static", "-Cforce-frame-pointers=yes", "-Clink-arg=--image-base=0x100000"];

/// When rustc has hung, if nothing else has ended it.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long a compiler may take for the file of someone else, in seconds; most take less than one.
pub(crate) const SECONDS: u32 = 30;

/// The words in front of a compiler that bound what it uses: time, 6 GiB of address space (rustc takes
/// 1 to 2), 64 MiB a file. Tools that every Linux has; `timeout` ends the whole group of processes.
pub(crate) fn bounds(seconds: u32) -> Vec<String> {
    let seconds = seconds.to_string();
    let words = ["timeout", "--signal=KILL", &seconds, "prlimit", "--as=6442450944"];
    words.into_iter().chain(["--fsize=67108864", "--"]).map(str::to_owned).collect()
}

/// What bounded compilers end with when their time is up.
const KILLED: i32 = 137;

/// How a file is treated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trust {
    /// As the user's own.
    Own,
    /// As someone else's: in so many seconds and other bounds, without our environment, and it may
    /// not read other files into itself.
    Foreign { seconds: u32 },
}

/// Builds the libraries that guests in one file may use: `guest`, `abi` and `calls`.
pub(crate) fn build_libraries() -> Result<(), Failure> {
    crate::target::ensure()?;
    let packages = ["portcall-guest", "portcall-abi", "portcall-calls"];
    let mut command = cargo::cargo("build");
    command.args(["--release", "--target", TRIPLE]);
    packages.iter().for_each(|it| {
        command.args(["--package", it]);
    });
    cargo::finish(command, "the libraries of guests do not build")
}

/// Compiles the guest in `file` to `image`; `shown` is the path that its messages name.
pub(crate) fn compile_guest(
    file: &Path,
    image: &Path,
    shown: &Path,
    trust: Trust,
) -> Result<Compiled, Failure> {
    let place = target_dir().join(TRIPLE).join("release");
    let mut words: Vec<OsString> = vec!["--target".into(), TRIPLE.into()];
    words.extend(GUEST_FLAGS.map(OsString::from));
    words.extend(libraries(&place, &["guest", "abi", "calls"]));
    // guest's macros run here, whatever it is built for.
    words.extend([dependencies(&place), dependencies(&target_dir().join("release"))]);
    rustc(file, image, shown, trust, &words)
}

/// Compiles a host half to `image`, against `portcall`, `cli`, `calls` and `abi`, and builds those
/// first.
pub(crate) fn compile_half(file: &Path, image: &Path) -> Result<Compiled, Failure> {
    let (place, flags) = cargo::build_host_libraries()?;
    let mut words: Vec<OsString> = vec!["--target".into(), cargo::HOST.into()];
    words.extend(flags.split_whitespace().map(OsString::from));
    words.extend(libraries(&place, &["portcall", "cli", "calls", "abi"]));
    // Macros that these were built with run here, whatever they are built for.
    words.extend([dependencies(&place), dependencies(&target_dir().join("release"))]);
    rustc(file, image, file, Trust::Own, &words)
}

fn libraries(place: &Path, names: &[&str]) -> Vec<OsString> {
    let library = |name: &&str| {
        let mut word = OsString::from(format!("--extern={name}="));
        word.push(place.join(format!("lib{name}.rlib")));
        word
    };
    names.iter().map(library).collect()
}

fn dependencies(place: &Path) -> OsString {
    let mut word = OsString::from("-Ldependency=");
    word.push(place.join("deps"));
    word
}

/// Runs rustc.
fn rustc(
    file: &Path,
    image: &Path,
    shown: &Path,
    trust: Trust,
    words: &[OsString],
) -> Result<Compiled, Failure> {
    if let Some(folder) = image.parent() {
        fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, error))?;
    }
    let read = image.with_added_extension("d");
    for old in [image, &read] {
        // What an earlier one left must not pass for this one's. A first time has none.
        let _ = fs::remove_file(old);
    }
    let mut command = match trust {
        Trust::Own => Command::new("rustc"),
        Trust::Foreign { seconds } => {
            let bounds = bounds(seconds);
            let mut command = Command::new(&bounds[0]);
            command.args(&bounds[1..]).arg("rustc").env_clear();
            command
                .envs(std::env::vars_os().filter(|(name, _)| is_rustcs(&name.to_string_lossy())));
            command
        }
    };
    command.current_dir(root()).args(["--edition=2024", "--crate-type=bin", "-Copt-level=3"]);
    command.args(["-Cdebuginfo=line-tables-only", "--color=never"]);
    for (kind, to) in [("link", image), ("dep-info", &read)] {
        let mut word = OsString::from(format!("--emit={kind}="));
        word.push(to);
        command.arg(word);
    }
    command.arg(format!("--crate-name={}", crate_name(shown))).args(words);
    let mut remap = OsString::from("--remap-path-prefix=");
    remap.push(file);
    remap.push("=");
    remap.push(shown);
    command.arg(remap).arg("--").arg(file);
    let ran = process::run(&mut command, Vec::new(), DEADLINE)
        .map_err(|error| cannot_start(&command, &error))?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    match ran.code {
        Some(0) if image.is_file() => {}
        None | Some(KILLED) => {
            return Ok(Compiled::Failed(format!(
                "it does not build: the compiler did not come to an end, and was killed\n{said}"
            )));
        }
        _ => return Ok(Compiled::Failed(format!("it does not build:\n{said}"))),
    }
    if trust != Trust::Own
        && let Some(other) = other_file(&read, file)?
    {
        return Ok(Compiled::Failed(format!(
            "it reads the file {other} into itself; a submission is one file\n"
        )));
    }
    Ok(Compiled::Done(said))
}

/// Whether rustc, or rustup in front of it, needs a variable. A program could have any other of ours
/// in it, by `env!`.
fn is_rustcs(name: &str) -> bool {
    ["PATH", "HOME", "TMPDIR", "CARGO_HOME"].contains(&name) || name.starts_with("RUSTUP_")
}

/// A file that the compiler read besides the program: by `include_str!`, `include!` or `mod`.
fn other_file(read: &Path, file: &Path) -> Result<Option<String>, Failure> {
    let bytes = fs::read(read).map_err(|error| Failure::file("read", read, error))?;
    let text = String::from_utf8_lossy(&bytes);
    // TARGET: FILE FILE..., and then a line `FILE:` each.
    let own = file.to_string_lossy();
    let names = text.lines().filter_map(|line| line.strip_suffix(':'));
    Ok(names.map(|it| it.replace("\\ ", " ")).find(|it| *it != own))
}

/// A crate's name for a file: as cargo makes it, and an identifier whatever the file is called.
fn crate_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name: String =
        stem.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect();
    match name.starts_with(|it: char| it.is_ascii_alphabetic()) {
        true => name,
        false => format!("program_{name}"),
    }
}

/// Where what is made of a program in one file goes: a folder for each path, so that two of the same
/// name do not meet.
pub(crate) fn place_for(path: &Path) -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    target_dir().join(format!("xtask/single/{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_guests_are_those_of_cargos_configuration() {
        let text = fs::read_to_string(root().join(".cargo/config.toml")).expect("there");
        let (_, guests) = text.split_once("[target.x86_64-unknown-none]").expect("guests");
        let (_, flags) = guests.split_once("rustflags = ").expect("theirs");
        let theirs: Vec<&str> = flags.split('"').skip(1).step_by(2).collect();
        assert_eq!(theirs, GUEST_FLAGS);
    }

    #[test]
    fn a_compiler_that_does_not_end_is_killed() {
        let folder = place_for(Path::new("a test of bounds"));
        fs::create_dir_all(&folder).expect("created");
        let file = folder.join("it.rs");
        let text = "#![no_std]\n#![allow(long_running_const_eval)]\n\
                    pub const N: u64 = { let mut i = 0; while i < u64::MAX { i += 1 } i };\n\
                    fn main() { let _ = N; }\n";
        fs::write(&file, text).expect("written");
        let image = folder.join("image");
        let compiled = rustc(&file, &image, &file, Trust::Foreign { seconds: 3 }, &[]);
        let Ok(Compiled::Failed(how)) = compiled else { unreachable!("{compiled:?}") };
        assert!(how.contains("did not come to an end"), "{how}");
    }

    #[test]
    fn any_file_name_makes_a_crate_name() {
        for (file, name) in
            [("a/own-idt.rs", "own_idt"), ("1.rs", "program_1"), ("\u{e9} x.rs", "program___x")]
        {
            assert_eq!(crate_name(Path::new(file)), name);
        }
    }

    #[test]
    fn a_file_that_was_read_besides_is_found() {
        let folder = place_for(Path::new("a test of other_file"));
        fs::create_dir_all(&folder).expect("created");
        let read = folder.join("it.d");
        let found = |text: &str| {
            fs::write(&read, text).expect("written");
            other_file(&read, Path::new("/a b/it.rs")).expect("read")
        };
        assert_eq!(found("/x/it: /a\\ b/it.rs\n\n/a\\ b/it.rs:\n"), None);
        let two = "/x/it: /a\\ b/it.rs /etc/passwd\n\n/a\\ b/it.rs:\n/etc/passwd:\n";
        assert_eq!(found(two), Some("/etc/passwd".to_owned()));
    }
}
