//! Writing an initramfs: a cpio archive of the "newc" form (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use crate::Failure;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// An archive that is being written to a file.
pub(crate) struct Archive {
    out: BufWriter<File>,
    path: PathBuf,
    /// What is in it, so that nothing is in it twice.
    names: BTreeSet<PathBuf>,
}

/// File types and permissions as in `st_mode`; all that is in an initramfs may be executed.
const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

impl Archive {
    /// Begins the archive `path`, in a directory that exists.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| Failure::file("create", path, error))?;
        let out = BufWriter::new(file);
        Ok(Self { out, path: path.to_owned(), names: BTreeSet::new() })
    }

    /// Adds a copy of `source` as the absolute path `name`.
    pub(crate) fn copy(&mut self, name: &Path, source: &Path) -> Result<(), Failure> {
        if self.names.contains(name) {
            return Ok(());
        }
        let bytes = fs::read(source).map_err(|error| Failure::file("read", source, error))?;
        self.file(name, &bytes)
    }

    /// Adds a file, and the directories that it is in.
    pub(crate) fn file(&mut self, name: &Path, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(parent) = name.parent() {
            self.directory(parent)?;
        }
        self.entry(name, FILE, bytes)
    }

    /// Adds a directory, and those that it is in: the kernel makes none by itself.
    pub(crate) fn directory(&mut self, name: &Path) -> Result<(), Failure> {
        match name.parent() {
            None => Ok(()),
            Some(parent) => {
                self.directory(parent)?;
                self.entry(name, DIRECTORY, &[])
            }
        }
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let written = write_entry(&mut self.out, 0, 0, b"TRAILER!!!", &[]);
        written
            .and_then(|()| self.out.flush())
            .map_err(|error| Failure::file("write", &self.path, error))
    }

    fn entry(&mut self, name: &Path, mode: u32, bytes: &[u8]) -> Result<(), Failure> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        let inode = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let name = name.strip_prefix("/").unwrap_or(name).as_os_str().as_encoded_bytes();
        write_entry(&mut self.out, inode, mode, name, bytes)
            .map_err(|error| Failure::file("write", &self.path, error))
    }
}

/// One entry: a header of hexadecimal numbers, the name with a NUL, the bytes; each of both
/// parts ends at a multiple of four.
fn write_entry(
    out: &mut impl Write,
    inode: u32,
    mode: u32,
    name: &[u8],
    bytes: &[u8],
) -> io::Result<()> {
    let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "past 4 GiB");
    let size = u32::try_from(bytes.len()).map_err(too_large)?;
    let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
    write!(out, "070701")?;
    // Owner and group are root; times, devices and the checksum mean nothing here.
    for word in [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
        write!(out, "{word:08x}")?;
    }
    const HEADER: usize = 6 + 13 * 8;
    out.write_all(name)?;
    out.write_all(&[0; 4][..1 + padding(HEADER + name.len() + 1)])?;
    out.write_all(bytes)?;
    out.write_all(&[0; 4][..padding(bytes.len())])
}

/// Bytes from `length` to the next multiple of four.
fn padding(length: usize) -> usize {
    length.wrapping_neg() % 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bytes_end_at_multiples_of_four() {
        for (name, bytes) in [("a", ""), ("ab", "x"), ("abc", "xyz"), ("abcd", "wxyz!")] {
            let mut entry = Vec::new();
            write_entry(&mut entry, 1, FILE, name.as_bytes(), bytes.as_bytes()).expect("memory");
            let start = (110 + name.len() + 1).next_multiple_of(4);
            assert_eq!(entry.len(), (start + bytes.len()).next_multiple_of(4), "{name}");
            assert_eq!(&entry[110..=110 + name.len()], format!("{name}\0").as_bytes());
            assert_eq!(&entry[start..start + bytes.len()], bytes.as_bytes());
            assert_eq!(&entry[..14], b"07070100000001");
        }
    }

    #[test]
    fn directories_come_before_what_is_in_them_and_nothing_twice() {
        let path = crate::cargo::target_dir().join("xtask/tests/archive.cpio");
        fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        let mut archive = Archive::create(&path).expect("created");
        for name in ["/a/b/c", "/a/b/d", "/a/b/c"] {
            archive.copy(Path::new(name), Path::new("/dev/null")).expect("written");
        }
        archive.finish().expect("written");
        let text = String::from_utf8(fs::read(&path).expect("read")).expect("no bytes but these");
        let names: Vec<_> = text.split("070701").skip(1).map(|it| &it[104..]).collect();
        let names: Vec<_> = names.iter().map(|it| it.trim_end_matches('\0')).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
    }
}
