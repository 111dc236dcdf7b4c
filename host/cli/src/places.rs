//! Where `--emit KIND[=FILE]` may go, of a run and of the laboratory alike: the grammar, and which
//! places leave a mixture behind.

use crate::code::Failure;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The kind, and the words behind it.
pub(crate) fn split(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, "-"))
}

/// The file that these words name; `None` is stdout.
pub(crate) fn file(words: &str) -> Result<Option<PathBuf>, String> {
    match words {
        "" => Err("it names no file after =; \"-\" is stdout".to_owned()),
        "-" => Ok(None),
        file => Ok(Some(file.into())),
    }
}

/// Where one goes.
pub(crate) struct Place<'o> {
    /// What people call it.
    pub(crate) name: String,
    pub(crate) is_stdout: bool,
    /// The file that it is written to, if that is open already.
    pub(crate) file: Option<&'o File>,
    /// The path at which it is put in place of what is there, if nothing is open there yet.
    pub(crate) replaces: Option<&'o Path>,
}

/// Refuses two outputs to one place, and one to where stdout goes as well, which has `text`.
pub(crate) fn all_different(places: &[Place<'_>], text: &str) -> Result<(), Failure> {
    // A shell may have led it to the same file.
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.ok().and_then(|stdout| id_of(&stdout.into()));
    apart(places, stdout, text).map_err(Failure::Message)
}

/// Which plain file it is: device and number.
type Id = (u64, u64);

fn apart(places: &[Place<'_>], stdout: Option<Id>, text: &str) -> Result<(), String> {
    let twice = |name: &str| Err(format!("{name} is named twice; name another file"));
    let id = |place: &Place<'_>| id_of(place.file?);
    for (i, place) in places.iter().enumerate() {
        if place.is_stdout && places[..i].iter().any(|other| other.is_stdout) {
            return twice(&place.name);
        }
        let Some(this) = id(place) else { continue };
        if places[..i].iter().any(|other| id(other) == Some(this)) {
            return twice(&place.name);
        }
        if stdout == Some(this) {
            let why = format!("stdout goes there as well, with {text}; name another file");
            return Err(format!("cannot write {}: {why}", place.name));
        }
    }
    for path in places.iter().filter_map(|place| place.replaces) {
        let there = File::open(path).ok().and_then(|file| id_of(&file));
        if there.is_some() && (there == stdout || places.iter().any(|other| id(other) == there)) {
            return twice(&path.display().to_string());
        }
    }
    Ok(())
}

/// Whether two paths lead to one file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}

/// Which plain file it is.
pub(crate) fn id_of(file: &File) -> Option<Id> {
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((metadata.dev(), metadata.ino()))
}

/// Files that were not there before they were opened. A run that is refused leaves none of them.
#[derive(Default)]
pub(crate) struct Fresh(Vec<PathBuf>);

impl Fresh {
    /// Opens one, and notes its file if that is new.
    pub(crate) fn noting<T>(&mut self, path: Option<&Path>, open: impl FnOnce() -> T) -> T {
        let new = path.filter(|path| path.symlink_metadata().is_err());
        let opened = open();
        self.0.extend(new.map(Path::to_owned));
        opened
    }

    /// The guest is there: what is written of it stays, and in the jail nothing could be removed.
    pub(crate) fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let is_empty =
            |it: &&PathBuf| it.symlink_metadata().is_ok_and(|it| it.is_file() && it.len() == 0);
        for path in self.0.iter().filter(is_empty) {
            // It is no loss if it stays.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, apart, file, id_of, split};
    use std::fs::File;

    #[test]
    fn a_kind_and_its_file() {
        assert_eq!(
            (split("csv=a=b"), split("csv"), split("=")),
            (("csv", "a=b"), ("csv", "-"), ("", ""))
        );
        assert_eq!((file("-"), file("a=b")), (Ok(None), Ok(Some("a=b".into()))));
        assert!(file("").is_err());
    }

    #[test]
    fn no_two_go_to_one_place_and_none_to_that_of_stdout() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("x");
        let [x, again] = [(); 2].map(|()| File::create(&path).expect("a file"));
        let other = File::create(place.path().join("y")).expect("a file");
        let to = |file| Place { name: "x".to_owned(), is_stdout: false, file, replaces: None };
        let (x_id, none) = (id_of(&x), None);
        assert!(x_id.is_some());
        assert_eq!(apart(&[to(Some(&x)), to(Some(&other))], none, "a table"), Ok(()));
        let twice = apart(&[to(Some(&x)), to(Some(&again))], none, "a table");
        assert_eq!(twice, Err("x is named twice; name another file".to_owned()));
        let why = apart(&[to(Some(&other)), to(Some(&x))], x_id, "a table").expect_err("stdout's");
        assert!(
            why.starts_with("cannot write x: stdout goes there as well, with a table"),
            "{why}"
        );
        let stdout = || Place { is_stdout: true, ..to(None) };
        assert_eq!(apart(&[stdout(), to(Some(&other))], x_id, "a table"), Ok(()));
        assert!(apart(&[stdout(), stdout()], none, "a table").is_err());
        let replaces = || Place { replaces: Some(&path), ..to(None) };
        assert!(apart(&[replaces(), to(Some(&x))], none, "a table").is_err());
        assert!(apart(&[replaces()], x_id, "a table").is_err());
        // What is no plain file may be named any number of times.
        let null = File::create("/dev/null").expect("/dev/null");
        assert_eq!(apart(&[to(Some(&null)), to(Some(&null))], id_of(&null), "a table"), Ok(()));
    }
}
