//! A file, or stdout, that is opened before a run and written after it.

use crate::code::Failure;
use crate::output::{self, Patient};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;

/// Where something is written at the end.
pub(crate) struct Sink {
    pub(crate) name: String,
    /// `None` for stdout.
    pub(crate) file: Option<File>,
}

impl Sink {
    /// Opens the file of that name, or stdout for `None`. What stands there is lost only once there is something to put in its place.
    pub(crate) fn open(name: String, path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { name, file: None }) };
        // A pipe that nobody reads is an error, not a wait.
        let mut options = File::options();
        let options =
            options.write(true).create(true).truncate(false).custom_flags(libc::O_NONBLOCK);
        let file = options
            .open(path)
            .map_err(|error| Failure::Message(format!("cannot create {name}: {error}")))?;
        Ok(Self { name, file: Some(file) })
    }

    /// Writes it in place of what stands there.
    pub(crate) fn write(
        self,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let Self { name, file } = self;
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
