//! Nested cargo: its environment, its target directory, and the two things it builds for us.

use crate::programs::{Profile, Program};
use crate::{Failure, err, instruments, target};
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where everything is built, whatever the caller's environment and configuration say.
pub(crate) fn target_dir() -> PathBuf {
    root().join("target")
}

/// A cargo command as a shell in the workspace's root would start it.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if is_outer_cargos(&name) {
            command.env_remove(name);
        }
    }
    command.env("CARGO_TARGET_DIR", target_dir()).current_dir(root()).arg(subcommand);
    command
}

/// Whether a variable is about the build that xtask itself came from, or would move or change
/// the nested build's results. CARGO_HOME, RUSTUP_* and network settings are not.
fn is_outer_cargos(name: &OsStr) -> bool {
    const WHOLE: [&str; 9] = [
        "CARGO",
        "CARGO_BUILD_BUILD_DIR",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_CRATE_NAME",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_DIR",
    ];
    const STARTS: [&str; 9] = [
        "CARGO_BIN_",
        "CARGO_BUILD_RUSTC",
        "CARGO_BUILD_RUSTDOC",
        "CARGO_ENCODED_RUSTDOC",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_TARGET_X86_64_UNKNOWN_NONE_",
        "RUSTC",
        "RUSTDOC",
    ];
    let Some(name) = name.to_str() else { return false };
    name == "RUSTFLAGS" || WHOLE.contains(&name) || STARTS.iter().any(|it| name.starts_with(it))
}

/// The host that `portcall` is built for. Named to cargo, so that the flags below are for the
/// binary alone and not for build scripts and macros.
pub(crate) const HOST: &str = "x86_64-unknown-linux-gnu";

/// Static, at a fixed address: half of the time from start to exit of a small guest is the
/// dynamic linker's otherwise (2.0 ms against 1.7 ms, where bare C takes 1.6 ms).
const STATIC: &str = "-Ctarget-feature=+crt-static -Crelocation-model=static";

/// Builds the `portcall` binary, or the host half of an experiment, and says where it is.
pub(crate) fn build_host(half: Option<&str>) -> Result<PathBuf, Failure> {
    match half {
        None => build_program(&["--package", "portcall-cli"], "portcall", "portcall"),
        Some(name) => {
            let what = ["--package", "portcall", "--example", name];
            build_program(&what, &format!("examples/{name}"), &format!("the host half {name}"))
        }
    }
}

/// The same with the laboratory, in which the guest of its rows stands.
pub(crate) fn build_lab(half: Option<&str>, guest: &Path) -> Result<PathBuf, Failure> {
    let feature = "portcall-cli/lab";
    let with = |it: &mut Command| {
        it.args(["--features", feature]).env("PORTCALL_LAB_GUEST", guest);
    };
    match half {
        None => {
            let what = ["--package", "portcall-cli"];
            build_program_with(&what, "portcall", "portcall with the laboratory", with)
        }
        Some(name) => {
            let what = ["--package", "portcall", "--package", "portcall-cli", "--example", name];
            let (place, name) = (format!("examples/{name}"), format!("the host half {name}"));
            build_program_with(&what, &place, &name, with)
        }
    }
}

/// Builds the guest of the laboratory's rows, and says where its image is.
pub(crate) fn build_lab_guest() -> Result<PathBuf, Failure> {
    const NAME: &str = "portcall-lab-guest";
    target::ensure()?;
    let mut command = cargo("build");
    command.args(["--release", "--target", target::TRIPLE, "--package", NAME]);
    finish(command, "the guest of the laboratory's rows does not build")?;
    built(target_dir().join(target::TRIPLE).join("release").join(NAME))
}

/// The same with the [instruments](crate::instruments), if the words for it ask for one. What is
/// built both ways is kept: only the first time takes long, and that is said. It has a place of its
/// own, so that who runs it is not disturbed by who builds it without, and the other way round.
pub(crate) fn build_host_for(half: Option<&str>, words: &[OsString]) -> Result<PathBuf, Failure> {
    if !instruments::are_wanted(words) {
        return build_host(half);
    }
    let (package, name) = half.map_or(("portcall-cli", "portcall"), |half| ("portcall", half));
    let (what, place) = match half {
        None => (["--bin", "portcall"], "portcall".to_owned()),
        Some(name) => (["--example", name], format!("examples/{name}")),
    };
    let kept = target_dir().join("instruments").join(&place);
    if !kept.exists() {
        err!("building {name} with its instruments, which takes longer than without");
    }
    // A feature of the command line's is named with its package, which has to be one of those built.
    let what = [
        "--package",
        package,
        "--package",
        "portcall-cli",
        what[0],
        what[1],
        "--features",
        "portcall-cli/instruments",
    ];
    let built = build_program(&what, &place, &format!("{name} with its instruments"))?;
    let failed = |error| Failure(format!("cannot keep {}: {error}", kept.display()));
    keep(&built, &kept).map_err(failed)?;
    Ok(kept)
}

/// Has a program at another place as well, whatever becomes of the first one. Who runs what was there
/// goes on with that.
fn keep(built: &Path, kept: &Path) -> io::Result<()> {
    let is_there = kept.metadata().is_ok_and(|it| {
        built.metadata().is_ok_and(|built| (it.dev(), it.ino()) == (built.dev(), built.ino()))
    });
    if is_there {
        return Ok(());
    }
    let folder = kept.parent().unwrap_or(kept);
    std::fs::create_dir_all(folder)?;
    let new = kept.with_extension(format!("new-{}", std::process::id()));
    // Not every file system has links.
    if std::fs::hard_link(built, &new).is_err() {
        std::fs::copy(built, &new)?;
    }
    std::fs::rename(&new, kept)
}

/// Builds `portcall` with the fuzzer of guests, and says where it is: a place of its own, as with the
/// instruments.
pub(crate) fn build_fuzzer() -> Result<PathBuf, Failure> {
    let kept = target_dir().join("fuzzer/portcall");
    if !kept.exists() {
        err!("building portcall with its fuzzer, which takes longer than without");
    }
    let what = ["--package", "portcall-cli", "--features", "fuzz"];
    let built = build_program(&what, "portcall", "portcall with its fuzzer")?;
    let failed = |error| Failure(format!("cannot keep {}: {error}", kept.display()));
    keep(&built, &kept).map_err(failed)?;
    Ok(kept)
}

/// Builds the test programs of a package for bare metal, and says where they are; nothing where there
/// is no such package.
pub(crate) fn build_guest_tests(package: &str) -> Result<Option<Vec<PathBuf>>, Failure> {
    let mut known = cargo("pkgid");
    known.arg(package).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !succeeds(&mut known)? {
        return Ok(None);
    }
    target::ensure()?;
    let mut command = cargo("test");
    command.args(["--no-run", "--release", "--target", target::TRIPLE, "--package", package]);
    // Those that the manifest has tested: the library among them, if it is.
    command.arg("--tests");
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.map_err(|error| cannot_start(&command, &error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failure(format!("the tests of {package} do not build:\n{said}")));
    }
    let line = |line: &str| {
        let line = line.trim_start().strip_prefix("Executable ")?;
        Some(root().join(line.rsplit_once('(')?.1.trim_end().strip_suffix(')')?))
    };
    Ok(Some(said.lines().filter_map(line).collect()))
}

/// Runs a command in our place, and ends as it does.
pub(crate) fn status_of(command: &mut Command) -> Result<std::process::ExitCode, Failure> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    let code = status.code().and_then(|it| u8::try_from(it).ok());
    Ok(code.map_or(std::process::ExitCode::FAILURE, std::process::ExitCode::from))
}

/// Builds the program that makes many VMs, and says where it is.
pub(crate) fn build_soak() -> Result<PathBuf, Failure> {
    build_program(&["--package", "portcall-soak"], "portcall-soak", "the soak")
}

/// Builds the program that measures, and says where it is.
pub(crate) fn build_bench() -> Result<PathBuf, Failure> {
    build_program(&["--package", "portcall-bench"], "portcall-bench", "the bench")
}

/// Builds a program that runs here, `what` to cargo, which ends up as `place`.
fn build_program(what: &[&str], place: &str, name: &str) -> Result<PathBuf, Failure> {
    build_program_with(what, place, name, |_| {})
}

/// The same, with something more said to cargo.
fn build_program_with(
    what: &[&str],
    place: &str,
    name: &str,
    more: impl FnOnce(&mut Command),
) -> Result<PathBuf, Failure> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Failure(WRONG_HOST.to_owned()));
    }
    let mut command = cargo("build");
    // The same flags for all, so that what they share is built once.
    command.args(["--release", "--target", HOST]).args(what);
    // The profile's line tables are for guests; without them this builds an eighth
    // sooner, to a quarter of the size.
    command.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    if has_static_libc() {
        command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", STATIC);
    }
    more(&mut command);
    finish(command, &format!("{name} does not build"))?;
    built(target_dir().join(HOST).join("release").join(place))
}

/// Builds the libraries of host halves, and says where they are and with which flags.
pub(crate) fn build_host_libraries() -> Result<(PathBuf, &'static str), Failure> {
    let packages = ["portcall", "portcall-cli", "portcall-calls", "portcall-abi"];
    let mut what = vec!["--lib"];
    packages.iter().for_each(|it| what.extend(["--package", it]));
    let library = build_program_with(&what, "libportcall.rlib", "the host's libraries", |_| {})?;
    let place = library.parent().unwrap_or(&library).to_owned();
    Ok((place, if has_static_libc() { STATIC } else { "" }))
}

/// Builds a file of tests of a library as a program that needs nothing beside it, and says where
/// it is: cargo puts a hash of its own into the name.
pub(crate) fn build_test(package: &str, name: &str) -> Result<PathBuf, Failure> {
    let mut command = cargo("test");
    command.args(["--no-run", "--release", "--target", HOST, "--package", package]);
    command.args(["--test", name]).env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", STATIC);
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.map_err(|error| cannot_start(&command, &error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failure(format!("the tests {name} of {package} do not build:\n{said}")));
    }
    // Executable tests/NAME.rs (PATH)
    let line = said.lines().find(|line| line.trim_start().starts_with("Executable "));
    let path = line.and_then(|line| line.rsplit_once('(')?.1.trim_end().strip_suffix(')'));
    let path = path.ok_or_else(|| Failure(format!("cargo does not say what it built:\n{said}")))?;
    // Relative paths are from where cargo ran.
    built(root().join(path))
}

/// What to do on a machine that cannot have this KVM.
pub(crate) const WRONG_HOST: &str = "\
Portcall runs x86-64 guests under Linux's KVM, which this machine does not have. On macOS, Windows \
or ARM use an x86-64 Linux machine: a cloud instance (nested virtualization is not needed where \
kvm_pvm is), or WSL 2 with nestedVirtualization=true";

/// Whether the C library can be linked statically; not every distribution installs that.
pub(crate) fn has_static_libc() -> bool {
    let output = Command::new("cc").arg("-print-file-name=libc.a").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"/"))
}

/// Builds the examples of a package, which all end up at [`Program::image`].
pub(crate) fn build_examples(
    package: &str,
    programs: &[&Program],
    profile: Profile,
) -> Result<(), Failure> {
    target::ensure()?;
    let mut command = cargo("build");
    command.args(["--target", target::TRIPLE, "--package", package]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    for program in programs {
        command.args(["--example", &program.name]);
    }
    let what = match programs {
        [one] => format!("the guest {} does not build", one.name),
        _ => format!("the guests of {package} do not all build"),
    };
    finish(command, &what)?;
    programs.iter().try_for_each(|it| built(it.image(profile)).map(|_| ()))
}

/// Runs a build. Its progress goes to a terminal, its messages always to stderr: stdout belongs
/// to guests, and stdin too.
pub(crate) fn finish(mut command: Command, failed: &str) -> Result<(), Failure> {
    if !io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    command.stdin(Stdio::null()).stdout(io::stderr());
    if succeeds(&mut command)? {
        Ok(())
    } else {
        Err(Failure(format!("{failed}; the compiler says why above")))
    }
}

/// Runs a command to its end.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool, Failure> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    Ok(status.success())
}

/// The failure of a command that did not start.
pub(crate) fn cannot_start(command: &Command, error: &io::Error) -> Failure {
    Failure(format!("cannot start {}: {error}", command.get_program().display()))
}

/// Makes sure that cargo put a file where we look for it.
fn built(path: PathBuf) -> Result<PathBuf, Failure> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure(format!(
        "cargo built {}, but not there; take `build.target` and `build.build-dir` out of cargo's \
         configuration (~/.cargo/config.toml)",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_when_another_is_built_and_goes_with_the_next() {
        let folder = target_dir().join(format!("kept-{}", std::process::id()));
        let (built, kept) = (folder.join("release/portcall"), folder.join("instruments/portcall"));
        let build = |text: &str| {
            std::fs::create_dir_all(folder.join("release")).expect("a folder");
            // As cargo does: another file of the same name.
            let _ = std::fs::remove_file(&built);
            std::fs::write(&built, text).expect("written");
        };
        let holds = |text: &str| std::fs::read_to_string(&kept).expect("there") == text;
        build("with");
        keep(&built, &kept).expect("kept");
        keep(&built, &kept).expect("kept as it is");
        build("without");
        assert!(holds("with"));
        build("with, and new");
        keep(&built, &kept).expect("kept");
        assert!(holds("with, and new"));
        let files = std::fs::read_dir(folder.join("instruments")).expect("a folder").count();
        assert_eq!(files, 1);
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn the_outer_builds_variables_go_and_the_users_stay() {
        for name in [
            "CARGO",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
        ] {
            assert!(is_outer_cargos(OsStr::new(name)), "{name}");
        }
        for name in ["CARGO_HOME", "RUSTUP_TOOLCHAIN", "CARGO_NET_OFFLINE", "CARGO_BUILD_JOBS"] {
            assert!(!is_outer_cargos(OsStr::new(name)), "{name}");
        }
    }
}
