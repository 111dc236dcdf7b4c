//! The image's file: read as far as loading needs, and whole where names are wanted.

use crate::code::Failure;
use portcall::elf;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest image that is read. None is near it; a wrong file may be.
const IMAGE_MAX: u64 = 1 << 30;

/// An open image.
pub(crate) struct ImageFile {
    path: PathBuf,
    file: File,
    size: u64,
    snapshot: bool,
}

impl ImageFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let failed = |error: io::Error| {
            let remedy = "give the ELF file that the guest was linked to";
            Failure::Message(format!("cannot read {name}: {error}; {remedy}"))
        };
        // A pipe that nobody writes to is an error, not a wait.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = file.map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            let message =
                format!("{name} is a directory; give the ELF file that the guest was linked to");
            return Err(Failure::Message(message));
        }
        let mut start = [0; 8];
        let snapshot = metadata.is_file()
            && file.read_exact_at(&mut start, 0).is_ok()
            && snapshot::is_snapshot(&start);
        // A snapshot has memory in it as well.
        if !metadata.is_file() || (metadata.len() > IMAGE_MAX && !snapshot) {
            let message =
                format!("{name} is no regular file of at most 1 GiB, so no guest's ELF file");
            return Err(Failure::Message(message));
        }
        Ok(Self { path: path.into(), file, size: metadata.len(), snapshot })
    }

    /// Whether it is a snapshot, which has an image in it.
    pub(crate) const fn is_snapshot(&self) -> bool {
        self.snapshot
    }

    /// What is loaded. The debug information behind it is most of a file, and reading it costs
    /// as much as half the run of a small guest.
    pub(crate) fn loaded(&mut self) -> Result<Vec<u8>, Failure> {
        let head = self.read(elf::HEAD as u64)?;
        let Some(extent) = elf::extent(&head) else { return self.whole() };
        if extent <= head.len() as u64 { Ok(head) } else { self.read(extent) }
    }

    /// All of it.
    pub(crate) fn whole(&mut self) -> Result<Vec<u8>, Failure> {
        self.read(self.size)
    }

    fn read(&mut self, size: u64) -> Result<Vec<u8>, Failure> {
        let wanted = size.min(self.size);
        let mut bytes = Vec::new();
        // What an allocator says of as much as this is no reason to abort.
        let room = bytes.try_reserve_exact(usize::try_from(wanted).unwrap_or(usize::MAX));
        let read = room
            .map_err(|_| io::ErrorKind::OutOfMemory.into())
            .and_then(|()| self.file.rewind())
            .and_then(|()| (&self.file).take(wanted).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => {
                Err(Failure::Message(format!("cannot read {}: {error}", self.path.display())))
            }
        }
    }
}
