//! Reports in files, as JSON.

use crate::report::{FORMAT, Report, Row};
use crate::text;
use serde::Deserialize;
use serde_json::error::Category;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The longest file that is read. A full run takes about two MiB.
const LONGEST: u64 = 256 << 20;

/// Why a report was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; `portcall lab` with JSON output makes one", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is longer than any report.
    #[error("{} has more than {} MiB, as no report has", path.display(), LONGEST >> 20)]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is no JSON, or ends too soon.
    #[error("{} is damaged, or no JSON at all: {source}; measure anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, and what.
        source: serde_json::Error,
    },
    /// It is JSON, but something else.
    #[error("{} is no report of the laboratory: {source}", path.display())]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// What is missing.
        source: serde_json::Error,
    },
    /// A report of another version.
    #[error(
        "{} has format {found}, and this portcall reads {FORMAT}: read it with the version that \
         wrote it, or measure anew",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// A report of this version, in which something is not as it was written.
    #[error("{} is a report, but was changed or is damaged: {source}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where, and what.
        source: serde_json::Error,
    },
    /// JSON has no such numbers.
    #[error("cannot keep the report in {}: a number in {place} is not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The row, or the part of the report.
        place: String,
    },
}

/// All that is looked at before the format is known.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

impl Report {
    /// Writes it to a file, with the directory that it is in. What stands there is replaced by the
    /// whole report or not at all, unless it is no plain file (a pipe, /dev/stdout), or its directory
    /// takes no other file ([`replace`]).
    ///
    /// # Errors
    ///
    /// The file cannot be written, or a number in the report is not finite.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        if let Some(place) = not_finite(self) {
            return Err(Error::NotFinite { path: path.to_owned(), place });
        }
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let mut text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
        directory.map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        if fs::metadata(path).is_ok_and(|it| !it.is_file()) {
            return fs::write(path, text).map_err(failed);
        }
        replace(path, |to| to.write_all(&text)).map_err(failed)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is damaged, is no report, or one of another version.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|it| it.take(LONGEST + 1).read_to_end(&mut text));
        match read {
            Err(source) => return Err(Error::Read { path, source }),
            Ok(_) if text.len() as u64 > LONGEST => return Err(Error::TooLong { path }),
            Ok(_) => {}
        }
        let head: Head = match serde_json::from_slice(&text) {
            Ok(head) => head,
            Err(source) if source.classify() == Category::Data => {
                return Err(Error::NotAReport { path, source });
            }
            Err(source) => return Err(Error::Damaged { path, source }),
        };
        if head.format != u64::from(FORMAT) {
            return Err(Error::Format { path, found: head.format });
        }
        serde_json::from_slice(&text).map_err(|source| Error::Changed { path, source })
    }
}

/// Writes a plain file anew: the older one stays where that fails, as on a full disk, and is replaced
/// when the new one is whole. A link stays a link. Where the directory takes no new file, or does not
/// let go of the older one (its permissions, a file that is mounted), that one is written over: half a
/// file is left where that fails then.
///
/// # Errors
/// Those of `text`, and of the file system: no room, a file that may not be written.
pub fn replace(path: &Path, text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // Whoever may read the older one may read it; else the umask decides.
    let older = fs::metadata(&path).map(|it| it.permissions()).ok();
    let file = match beside(&path, older.clone()) {
        Err(error) if older.is_some() && is_of_directory(&error) => {
            let mut to = BufWriter::new(File::options().write(true).truncate(true).open(&path)?);
            text(&mut to)?;
            return to.flush();
        }
        file => file?,
    };
    let mut to = BufWriter::new(file);
    text(&mut to)?;
    let mut written = match to.into_inner()?.persist(&path) {
        Err(failed) if older.is_some() && is_of_directory(&failed.error) => failed.file,
        done => return done.map(|_| ()).map_err(io::Error::from),
    };
    written.rewind()?;
    let mut over = File::options().write(true).truncate(true).open(&path)?;
    io::copy(&mut written, &mut over).map(|_| ())
}

/// A new file in the same directory.
fn beside(path: &Path, older: Option<Permissions>) -> io::Result<NamedTempFile> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let mode = older.as_ref().map_or(0o666, PermissionsExt::mode);
    let file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(parent.unwrap_or(Path::new(".")))?;
    if let Some(older) = older {
        file.as_file().set_permissions(older)?;
    }
    Ok(file)
}

/// Whether it is the directory that refuses, and not a disk that is full: the file itself may still be
/// written.
fn is_of_directory(error: &io::Error) -> bool {
    use io::ErrorKind::{
        CrossesDevices, NotFound, PermissionDenied, ReadOnlyFilesystem, ResourceBusy,
    };
    matches!(
        error.kind(),
        PermissionDenied | ReadOnlyFilesystem | NotFound | ResourceBusy | CrossesDevices
    )
}

/// Where JSON would have `null` in a number's place.
fn not_finite(report: &Report) -> Option<String> {
    let load = &report.machine.load;
    let all = [Some(report.seconds), load.others, load.stolen];
    let part = load.worst.map(|it| [it.from, it.to, it.others, it.stolen]);
    let mut all = all.into_iter().flatten().chain(part.into_iter().flatten());
    if all.any(|it| !it.is_finite()) {
        return Some("the machine's description".to_owned());
    }
    let bad = report.rows.iter().find(|row| !is_finite(row))?;
    Some(format!("the row {}", text::shown(&bad.name, text::NAME)))
}

fn is_finite(row: &Row) -> bool {
    row.measured().is_none_or(|it| {
        let shares = it.shares.map_or([0.0; 4], |it| [it.exits, it.kvm, it.kernel, it.ours]);
        it.rounds.iter().flatten().all(|sample| sample.is_finite())
            && it.timer.is_finite()
            && it.instructions.is_none_or(f64::is_finite)
            && shares.iter().all(|share| share.is_finite())
    })
}
