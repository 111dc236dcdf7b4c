//! Writing that neither a stuck reader nor a signal can hold up.

use crate::code::Failure;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most that a pipe takes without blocking once poll says that it takes something
/// (PIPE_BUF, pipe(7)).
const CHUNK: usize = 4096;

/// How often a blocked write looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// How long after the guest's deadline a reader may keep our words waiting.
const GRACE: Duration = Duration::from_secs(1);

/// When our words are no longer worth waiting for, if the user has set a deadline.
static DEADLINE: OnceLock<Instant> = OnceLock::new();
/// Whether the user has asked us to stop.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on nothing of ours blocks beyond `timeout` and a little.
pub(crate) fn set_deadline(timeout: Duration) {
    if let Some(deadline) = Instant::now().checked_add(timeout.saturating_add(GRACE)) {
        // Only the first one counts, and there is only one.
        let _ = DEADLINE.set(deadline);
    }
}

/// From here on nothing of ours blocks. May be called from a signal handler.
pub(crate) fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Whether that was said.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

fn given_up() -> bool {
    is_interrupted() || DEADLINE.get().is_some_and(|at| Instant::now() >= *at)
}

/// Waits until `fd` is ready for `events`; an error is for the read or write to say.
fn wait(fd: BorrowedFd<'_>, events: i16, time: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let time = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `poll` is one valid entry for the call's duration.
    match unsafe { libc::poll(&raw mut poll, 1, time) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

/// Writes all of it, or as much as a reader takes in the time there is.
fn write_all(mut to: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let give_up = given_up();
        let patience = if give_up { Duration::ZERO } else { LOOK };
        let ready = match wait(to.as_fd(), libc::POLLOUT, patience) {
            // The VM's ticks come here as well, and more often than we look.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
            result => result?,
        };
        if !ready {
            if give_up {
                return Err(io::ErrorKind::TimedOut.into());
            }
            continue;
        }
        match to.write(&bytes[..bytes.len().min(CHUNK)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes to stderr, with colours where it is a terminal that wants them. Where stderr is gone
/// or stuck, so are the words.
pub(crate) fn say(text: &str) {
    let stderr = io::stderr();
    let choice = anstream::AutoStream::choice(&stderr);
    let mut styled = anstream::AutoStream::new(Vec::new(), choice);
    // A Vec takes everything.
    let _ = styled.write_all(text.as_bytes());
    if let Ok(file) = stderr.as_fd().try_clone_to_owned() {
        let _ = write_all(&File::from(file), &styled.into_inner());
    }
}

/// A file that is written piece by piece: neither a signal nor a full pipe loses any of it.
#[derive(Debug)]
pub(crate) struct Patient(File);

impl Patient {
    /// In place of what stands there.
    pub(crate) fn replacing(file: File) -> io::Result<Self> {
        // Only a plain file has a length to cut.
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Ok(Self(file))
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all(&self.0, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stdout, as patient.
pub(crate) fn stdout() -> io::Result<Patient> {
    io::stdout().as_fd().try_clone_to_owned().map(|fd| Patient(fd.into()))
}

/// An open file without the buffering and the retrying of std's handles: a VM's signal can
/// interrupt it. One that was made non-blocking, as shared pipes may be, is waited for.
#[derive(Debug)]
pub(crate) struct Plain(File);

impl Plain {
    /// The same open file as `fd`.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self, Failure> {
        fd.try_clone_to_owned().map(|fd| Self(fd.into())).map_err(|error| {
            Failure::Message(format!("cannot use stdin and stdout: {error} (see ulimit -n)"))
        })
    }

    fn retry<T>(&self, events: i16, mut call: impl FnMut(&File) -> io::Result<T>) -> io::Result<T> {
        loop {
            match call(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(self.0.as_fd(), events, Duration::MAX)?;
                }
                result => return result,
            }
        }
    }
}

impl Read for Plain {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.retry(libc::POLLIN, |mut file| file.read(bytes))
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(libc::POLLOUT, |mut file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
