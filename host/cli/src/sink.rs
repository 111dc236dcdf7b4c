//! A file, or stdout, that is opened before a run and written after it.

use crate::code::Failure;
use crate::output::{self, Patient};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;

/// Whether no file can be taken away any more.
static CONFINED: AtomicBool = AtomicBool::new(false);

/// The jail is entered now, in which to take a file away is a refused call.
pub(crate) fn confined() {
    CONFINED.store(true, Ordering::Relaxed);
}

/// A file that was not there before, and is taken away again where no run came of it: one that is empty
/// looks like a result.
#[derive(Default)]
pub(crate) struct Fresh(Option<PathBuf>);

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(path) = self.0.take().filter(|_| !CONFINED.load(Ordering::Relaxed))
            && path.symlink_metadata().is_ok_and(|it| it.is_file() && it.size() == 0)
        {
            // Whoever looks finds it empty else.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Where something is written at the end.
pub(crate) struct Sink {
    pub(crate) name: String,
    /// `None` for stdout.
    pub(crate) file: Option<File>,
    pub(crate) fresh: Fresh,
}

impl Sink {
    /// Opens the file of that name, or stdout for `None`. What stands there is
    /// lost only once there is something to put in its place.
    pub(crate) fn open(name: String, path: Option<&Path>) -> Result<Self, Failure> {
        let fresh = Fresh::default();
        let Some(path) = path else { return Ok(Self { name, file: None, fresh }) };
        // A pipe that nobody reads is an error, not a wait.
        let mut options = File::options();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        let (file, fresh) = match options.clone().create_new(true).open(path) {
            Ok(file) => (Ok(file), Fresh(Some(path.to_owned()))),
            Err(_) => (options.create(true).truncate(false).open(path), fresh),
        };
        let file =
            file.map_err(|error| Failure::Message(format!("cannot create {name}: {error}")))?;
        Ok(Self { name, file: Some(file), fresh })
    }

    /// Writes it in place of what stands there.
    pub(crate) fn write(
        self,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let Self { name, file, mut fresh } = self;
        // What is written may be nothing.
        fresh.0 = None;
        let into = |to: &mut dyn Write| {
            let mut to = BufWriter::with_capacity(BUFFER, to);
            text(&mut to)?;
            to.flush()
        };
        let done = match file {
            Some(file) => Patient::replacing(file).and_then(|mut file| into(&mut file)),
            None => output::stdout().and_then(|mut stdout| into(&mut stdout)),
        };
        done.map_err(|error| Failure::writing(&name, &error))
    }
}
