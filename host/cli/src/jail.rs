//! The jail around a run: what may still be opened in it, and how it is entered.

use crate::code::Failure;
use crate::session::Common;
use jail::Jail;
use std::path::{Component, Path, PathBuf};

/// Enters the jail, if there is one and it is wanted. The VM is built and all outputs are open.
/// `input` is the file that the run is made of, `snapshot` the directory in which one is to be put
/// in place of an older one.
pub(crate) fn enter(
    jail: Option<Jail>,
    common: &Common,
    input: &Path,
    snapshot: Option<&Path>,
) -> Result<(), Failure> {
    let Some(mut jail) = jail.filter(|_| common.wants_jail()) else { return Ok(()) };
    if let Some(directory) = snapshot {
        jail = jail.snapshots().rename_beneath(directory);
    }
    if common.is_debugged() {
        jail = jail.debugger();
    }
    if common.drives() {
        jail = jail.traps();
    }
    confine(jail, input)
}

/// The same for a process that runs guests in many VMs, which stand by then too: it brings them back to
/// a snapshot that it takes in the jail, and starts threads for them.
pub(crate) fn enter_for_many(jail: Jail, input: &Path) -> Result<(), Failure> {
    let calls = [
        libc::SYS_clone3,
        libc::SYS_clone,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_sched_getaffinity,
    ];
    confine(calls.into_iter().fold(jail.snapshots().restores(), Jail::also), input)
}

fn confine(jail: Jail, input: &Path) -> Result<(), Failure> {
    let jail = source_places(input).into_iter().fold(jail, Jail::read_beneath);
    match jail.enter() {
        // Without Landlock it opens nothing; `doctor` says so.
        Ok(_) => Ok(()),
        // Without the jail there would be too few as well, for what is opened behind it.
        Err(error) if error.is_of_descriptors() => {
            Err(Failure::Message(format!("cannot enter the jail: {error}")))
        }
        Err(error) => {
            let remedy = "--no-jail runs the guest without it";
            Err(Failure::Message(format!("cannot enter the jail: {error}; {remedy}")))
        }
    }
}

/// Where the lines of source lie that a backtrace shows: the directory that we are in, the
/// workspace that the image was built in, and cargo's unpacked crates.
///
/// The image has no say in it. Its debug information names the directories that it was compiled
/// in, and a hostile one would name those that are worth reading; these three hold the sources
/// wherever cargo built the image, and what they leave out shows no line. Left out as well are home
/// directories, for what else is in them, and those of the whole system.
fn source_places(input: &Path) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    // Without a home nobody knows what is one.
    let Some(home) = home.map(|home| home.canonicalize().unwrap_or(home)) else {
        return Vec::new();
    };
    let may_be_read = |it: &PathBuf| may_be_read(it, &home);
    let here = std::env::current_dir().ok().filter(may_be_read);
    // What was built beneath the directory that we are in has its sources there.
    let beneath = here.as_ref().is_some_and(|here| {
        let plain = !input.components().any(|it| it == Component::ParentDir);
        plain && (input.is_relative() || input.starts_with(here))
    });
    let workspace = || workspace_of(&input.canonicalize().ok()?).filter(may_be_read);
    let workspace = if beneath { None } else { workspace() };
    let mut places: Vec<PathBuf> = here.into_iter().chain(workspace).collect();
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.unwrap_or_else(|| home.join(".cargo"));
    let unpacked = ["registry/src", "git/checkouts"].map(|it| cargo.join(it));
    places.extend(unpacked.into_iter().filter(|it| it.is_dir()));
    places
}

/// The directory that cargo's `target` is in, of a file that was built there: it has cargo's manifest.
fn workspace_of(file: &Path) -> Option<PathBuf> {
    let target = file.ancestors().find(|it| it.ends_with("target"))?;
    let workspace = target.parent()?;
    workspace.join("Cargo.toml").is_file().then(|| workspace.to_owned())
}

/// Whether a directory may hold sources: not the root or a directory in it (/etc, /proc, /home),
/// not our home or what is above it, nor the home of someone else beside it.
fn may_be_read(place: &Path, home: &Path) -> bool {
    let is_systems = place.parent().is_none_or(|above| above.parent().is_none());
    !is_systems && !home.starts_with(place) && place.parent() != home.parent()
}

#[cfg(test)]
mod tests {
    use super::{may_be_read, workspace_of};
    use std::path::Path;

    #[test]
    fn neither_homes_nor_what_is_the_systems_is_read() {
        let ada = Path::new("/home/ada");
        for place in ["/", "/home", "/home/ada", "/home/bob", "/etc", "/proc", "/root", "/tmp"] {
            assert!(!may_be_read(Path::new(place), ada), "{place}");
        }
        for place in ["/home/ada/guests", "/work/guests", "/tmp/a"] {
            assert!(may_be_read(Path::new(place), ada), "{place}");
            assert!(may_be_read(Path::new(place), Path::new("/root")), "{place}");
        }
        assert!(!may_be_read(Path::new("/root"), Path::new("/root")));
    }

    #[test]
    fn an_images_workspace_is_where_its_target_directory_and_the_manifest_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("target/x86_64-unknown-none/release/examples/hello");
        assert_eq!(workspace_of(&image), None);
        std::fs::write(folder.path().join("Cargo.toml"), "").expect("written");
        assert_eq!(workspace_of(&image).as_deref(), Some(folder.path()));
        assert_eq!(workspace_of(Path::new("/home/ada/hello")), None);
        assert_eq!(workspace_of(&folder.path().join("my-target/hello")), None);
    }
}
