//! The jail around a run: what may still be opened in it, and how it is entered.

use crate::code::Failure;
use crate::session::Common;
use jail::Jail;
use std::path::{Component, Path, PathBuf};

/// Enters the jail, if there is one and it is wanted. The VM is built and all outputs are open.
/// `input` is the file that the run is made of.
pub(crate) fn enter(jail: Option<Jail>, common: &Common, input: &Path) -> Result<(), Failure> {
    let Some(jail) = jail.filter(|_| common.wants_jail()) else { return Ok(()) };
    let jail = source_places(input).into_iter().fold(jail, Jail::read_beneath);
    match jail.enter() {
        // Without Landlock it opens nothing; `doctor` says so.
        Ok(_) => Ok(()),
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
/// wherever cargo built the image, and what they leave out shows no line. Home directories are
/// left out for what else is in them, and all that is above.
fn source_places(input: &Path) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let home = home.map(|home| home.canonicalize().unwrap_or(home));
    let may_be_read = |it: &PathBuf| may_be_read(it, home.as_deref());
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
    if let Some(cargo) = cargo.or_else(|| Some(home?.join(".cargo"))) {
        let unpacked = ["registry/src", "git/checkouts"].map(|it| cargo.join(it));
        places.extend(unpacked.into_iter().filter(|it| it.is_dir()));
    }
    places
}

/// The directory that cargo's `target` is in, of a file that was built there.
fn workspace_of(file: &Path) -> Option<PathBuf> {
    let target = file.ancestors().find(|it| it.ends_with("target"))?;
    target.parent().map(Path::to_owned)
}

/// Whether a directory may hold sources: not the root, a home directory, or where those are.
fn may_be_read(place: &Path, home: Option<&Path>) -> bool {
    place.parent().is_some() && home.is_none_or(|home| !home.starts_with(place))
}

#[cfg(test)]
mod tests {
    use super::{may_be_read, workspace_of};
    use std::path::Path;

    #[test]
    fn neither_the_root_nor_a_home_directory_is_read() {
        let home = Some(Path::new("/home/ada"));
        for place in ["/", "/home", "/home/ada"] {
            assert!(!may_be_read(Path::new(place), home), "{place}");
        }
        for place in ["/home/ada/guests", "/work", "/tmp/a"] {
            assert!(may_be_read(Path::new(place), home), "{place}");
        }
        assert!(!may_be_read(Path::new("/"), None));
    }

    #[test]
    fn an_images_workspace_is_where_its_target_directory_is() {
        let of = |path: &str| workspace_of(Path::new(path));
        let image = "/home/ada/guests/target/x86_64-unknown-none/release/examples/hello";
        assert_eq!(of(image).as_deref(), Some(Path::new("/home/ada/guests")));
        assert_eq!(of("/home/ada/hello"), None);
        assert_eq!(of("/home/ada/my-target/hello"), None);
    }
}
