//! Inputs and findings in directories.

use crate::finding::{Finding, hash};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most bytes of all inputs that are read, and the most files.
const BYTES_MAX: usize = 256 << 20;
const FILES_MAX: usize = 1 << 17;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be made.
    #[error("cannot make the directory {}: {source}; name another", .path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the directory {}: {source}; it is to hold inputs, a file each", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where inputs are kept that reached something new, and where findings are.
#[derive(Clone, Debug)]
pub struct Store {
    corpus: PathBuf,
    crashes: PathBuf,
}

/// Inputs that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// By their files' names, in order.
    pub inputs: Vec<Vec<u8>>,
    /// What was left out, and why: a sentence each.
    pub left_out: Vec<String>,
}

impl Store {
    /// Makes both directories where they are not there.
    ///
    /// # Errors
    /// One cannot be made: something else has its name.
    pub fn open(corpus: &Path, crashes: &Path) -> Result<Self, StoreError> {
        for path in [corpus, crashes] {
            let failed = |source| StoreError::Make { path: path.to_owned(), source };
            fs::create_dir_all(path).map_err(failed)?;
        }
        Ok(Self { corpus: corpus.to_owned(), crashes: crashes.to_owned() })
    }

    /// Keeps an input, by a name that follows from its bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, input: &[u8]) -> io::Result<()> {
        let path = self.corpus.join(format!("{:016x}", hash(input)));
        // As it is there from an earlier run, mostly.
        if path.is_file() { Ok(()) } else { fs::write(path, input) }
    }

    /// Writes a finding: the input, and beside it, with `.txt`, what there is to say. Gives the
    /// input's path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn found(&self, finding: &Finding, text: &str) -> io::Result<PathBuf> {
        let path = self.crashes.join(&finding.name);
        fs::write(&path, &finding.input)?;
        fs::write(self.crashes.join(format!("{}.txt", finding.name)), text)?;
        Ok(path)
    }
}

impl Inputs {
    /// Takes in the plain files of a directory with at most `most` bytes each; directories within it
    /// are not looked at.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read(&mut self, directory: &Path, most: usize) -> Result<(), StoreError> {
        let failed = |source| StoreError::Read { path: directory.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)?.take(FILES_MAX) {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.sort();
        let mut room = BYTES_MAX;
        for path in paths {
            match read(&path, most.min(room)) {
                Ok(Some(input)) => {
                    room -= input.len();
                    self.inputs.push(input);
                }
                Ok(None) => {}
                Err(why) => {
                    let name = inspect::printable(&path.display().to_string());
                    self.left_out.push(format!("{name} is left out: {why}"));
                }
            }
        }
        Ok(())
    }
}

/// An input; nothing where the file is none.
fn read(path: &Path, most: usize) -> Result<Option<Vec<u8>>, String> {
    // A pipe that nobody writes to is no wait.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| error.to_string())?;
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Ok(None);
    }
    let mut input = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut input).map_err(|error| error.to_string())?;
    if input.len() > most {
        return Err(format!("it has more than {most} bytes (--max-len)"));
    }
    Ok(Some(input))
}

#[cfg(test)]
mod tests {
    use super::{Inputs, Store, StoreError};
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_no_input_is_left_out_and_what_is_too_long_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        };
        write("b", b"second");
        write("a", b"");
        write("c", &[0; 9]);
        std::fs::create_dir(folder.path().join("d")).expect("made");
        symlink("/nowhere", folder.path().join("e")).expect("made");
        symlink("/dev/zero", folder.path().join("f")).expect("made");
        let mut found = Inputs::default();
        found.read(folder.path(), 8).expect("read");
        assert_eq!(found.inputs, [b"".to_vec(), b"second".to_vec()]);
        assert_eq!(found.left_out.len(), 2, "{found:?}");
        assert!(found.left_out[0].contains("more than 8 bytes"), "{found:?}");
    }

    #[test]
    fn a_directory_that_is_none_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let made = Store::open(&folder.path().join("a/b"), &file);
        assert!(matches!(made, Err(StoreError::Make { path, .. }) if path == file));
        let read = Inputs::default().read(&file, 8);
        assert!(matches!(read, Err(StoreError::Read { path, .. }) if path == file));
    }

    #[test]
    fn an_input_is_kept_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), folder.path()).expect("opened");
        store.keep(b"one").expect("kept");
        store.keep(b"one").expect("kept");
        store.keep(b"two").expect("kept");
        let mut found = Inputs::default();
        found.read(folder.path(), 8).expect("read");
        assert_eq!(found.inputs.len(), 2);
    }
}
