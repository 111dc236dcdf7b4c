//! Writing a snapshot: a new file beside the one that is to be, which takes its place when it is
//! whole and on the disk. Whatever fails before leaves what stood there.

use crate::content::Machine;
use crate::cpu::Cpu;
use crate::{CPU_MAX, FORMAT, IMAGE_MAX, MACHINE_MAX, PAGES, PAGES_MAX};
use frame::FrameWriter;
use portcall::Snapshot;
use serde::Serialize;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Where a snapshot is to be written. What has to be opened is open: [`write`](Self::write) opens
/// nothing, but renames, within one directory; or removes what it has made there.
///
/// Dropped without it, nothing is left. A process that is killed leaves a file beside, with a dot
/// in front of the name.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    directory: File,
    file: NamedTempFile,
}

impl Target {
    /// Makes a new file beside `path`. A link is followed, and what it leads to is replaced; one that
    /// leads nowhere is replaced itself. Where there was no file, the new one is its owner's alone:
    /// it has all of a guest's memory.
    ///
    /// # Errors
    /// Something else than a file stands there, or no file can be made in that directory.
    pub fn create(path: &Path) -> io::Result<Self> {
        let (path, mode) = match path.canonicalize() {
            Ok(path) => {
                let metadata = path.metadata()?;
                if metadata.is_dir() {
                    let kind = io::ErrorKind::IsADirectory;
                    return Err(io::Error::new(kind, "it is a directory; name a file"));
                }
                if !metadata.is_file() {
                    let why = "it is no plain file, and a snapshot takes the place of one";
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
                }
                (path, metadata.permissions().mode())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), 0o600),
            Err(error) => return Err(error),
        };
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        // The directory may be left before the end, by a host that works somewhere else.
        let parent = parent.unwrap_or(Path::new(".")).canonicalize()?;
        let file = tempfile::Builder::new()
            .prefix(&[".".as_ref(), name].into_iter().collect::<std::ffi::OsString>())
            .permissions(Permissions::from_mode(mode & 0o666))
            .tempfile_in(&parent)?;
        Ok(Self { path: parent.join(name), directory: File::open(&parent)?, file })
    }

    /// The file that is to be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory in which it renames.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.path.parent()
    }

    /// Writes the snapshot of a VM that was made of the image whose whole file is `image`, has it
    /// brought to the disk, and puts it in its place.
    ///
    /// # Errors
    /// It cannot be written, or what is in it is more than such a file can have. What stood there
    /// still does.
    pub fn write(mut self, snapshot: &Snapshot, image: &[u8]) -> io::Result<()> {
        let sink = BufWriter::with_capacity(PAGES, self.file.as_file_mut());
        write_for(sink, snapshot, image, &Cpu::this())?;
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path).map_err(|error| error.error)?;
        // So is its name: without this an old file might come back after a loss of power.
        self.directory.sync_all()
    }
}

/// Writes a snapshot's file to `sink`, as one that was taken on that processor.
///
/// # Errors
/// As for [`Target::write`].
pub fn write_for(sink: impl Write, snapshot: &Snapshot, image: &[u8], cpu: &Cpu) -> io::Result<()> {
    let mut frames = FrameWriter::new(sink, &FORMAT)?;
    frames.put(&encoded(cpu)?, CPU_MAX)?;
    frames.put(image, IMAGE_MAX)?;
    frames.put(&encoded(&Machine::from(snapshot.parts()))?, MACHINE_MAX)?;
    let mut content = Vec::with_capacity(PAGES + 8);
    for (gpa, run) in snapshot.pages() {
        for (pages, at) in run.chunks(PAGES).zip((gpa.0..).step_by(PAGES)) {
            content.clear();
            content.extend_from_slice(&at.to_le_bytes());
            content.extend_from_slice(pages);
            frames.put(&content, PAGES_MAX)?;
        }
    }
    frames.put(&[], PAGES_MAX)?;
    frames.flush()
}

fn encoded(part: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(part).map_err(|error| io::Error::other(error.to_string()))
}
