//! A log that was read once, from its start to its end, and is whole as far as it goes.

use crate::entry::{Entry, Machine, Mark};
use crate::error::LogError;
use crate::frame::{ENTRY_MAX, FrameReader, IMAGE_MAX, LOG, MACHINE_MAX, Next};
use crate::play::{self, Found, Player, Reach};
use portcall::Image;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What a log is read from.
pub trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

/// Whether all of a log is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is; this signal stopped the recorded run, if one did.
    Complete(Option<i32>),
    /// It ends at this byte, with the recording unfinished: its writer was killed, or had no more
    /// room.
    Cut(u64),
}

/// A log of a run.
pub struct Log {
    source: Box<dyn Source>,
    size: u64,
    image: Vec<u8>,
    machine: Machine,
    exits: u64,
    state: State,
    /// How much text there was where the run was ended while the guest ran.
    text: Option<u64>,
}

impl Log {
    /// Opens a log, and reads all of it once.
    ///
    /// # Errors
    /// It is no log, one of another version, or damaged.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let failed = |source| LogError::Open { path: path.into(), source };
        // A pipe would wait for its writer.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(LogError::NotPlain { path: path.into() });
        }
        Self::read(File::open(path).map_err(failed)?)
    }

    /// Reads a log from wherever it is.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn read(source: impl Source + 'static) -> Result<Self, LogError> {
        let mut source: Box<dyn Source> = Box::new(source);
        let failed = |source| LogError::Read { at: 0, source };
        let size = source.seek(SeekFrom::End(0)).map_err(failed)?;
        source.rewind().map_err(failed)?;
        let mut entries = Entries::new(BufReader::new(source), size)?;
        let (image, machine) = (entries.image()?, entries.machine()?);
        let (mut exits, mut state, mut text) = (0, None, None);
        let mut ended = false;
        while let Some(entry) = entries.next()? {
            match entry {
                Entry::Exit(_, mark, _, _, ends) => {
                    exits += 1;
                    ended = ends.0;
                    entries.mark(mark);
                }
                Entry::Between(_) => {}
                Entry::End(end, mark) => {
                    entries.mark(mark);
                    // In the midst of running or printing, where a replay may print more before it
                    // ends. An end that was an answer has been gone on from, if there is another.
                    let further = !ended || play::reach_of(&end) == Reach::Further;
                    text = entries.text.filter(|_| further).map(|(bytes, _)| bytes);
                    ended = false;
                }
                Entry::Close(signal) => {
                    let at = entries.frames.at();
                    if at != size {
                        let what = "something stands behind its end";
                        return Err(LogError::Damaged { at, what });
                    }
                    state = Some(State::Complete(signal));
                }
            }
        }
        let state = state.unwrap_or(State::Cut(entries.frames.at()));
        let source = entries.frames.into_source().into_inner();
        Ok(Self { source, size, image, machine, exits, state, text })
    }

    /// The whole file of the guest's image.
    #[must_use]
    pub fn image(&self) -> &[u8] {
        &self.image
    }

    /// What the VM was made of.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How many exits are in it.
    #[must_use]
    pub const fn exits(&self) -> u64 {
        self.exits
    }

    /// Whether all of it is there.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// A console for the replay, that hands on no more text than the recorded run had: one that
    /// was ended from outside ends a little later in a replay.
    pub fn console<W: Write>(&self, sink: W) -> impl Write + use<W> {
        Console { sink, left: self.text }
    }

    /// The tape that plays it, and what tells how that went. `image` is that of
    /// [`image`](Self::image).
    ///
    /// # Errors
    /// It cannot be read a second time.
    pub fn play(mut self, image: &Image<'_>) -> Result<(Player, Found), LogError> {
        self.source.rewind().map_err(|source| LogError::Read { at: 0, source })?;
        let mut entries = Entries::new(BufReader::new(self.source), self.size)?;
        entries.pass_image()?;
        entries.machine()?;
        Ok(play::player(entries, self.text, image.notes().calls.clone()))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, exits, state, .. } = self;
        write!(f, "Log({size} bytes, {exits} exits, {state:?})")
    }
}

/// The entries of a log, one after the other.
pub(crate) struct Entries {
    frames: FrameReader<BufReader<Box<dyn Source>>>,
    content: Vec<u8>,
    /// Where the last entry began.
    at: u64,
    /// The text at the last entry, where it is known.
    pub(crate) text: Option<(u64, u64)>,
}

impl Entries {
    fn new(source: BufReader<Box<dyn Source>>, size: u64) -> Result<Self, LogError> {
        let frames = FrameReader::new(source, size, &LOG)?;
        Ok(Self { at: frames.at(), frames, content: Vec::new(), text: None })
    }

    fn damaged(&self, what: &'static str) -> LogError {
        LogError::Damaged { at: self.at, what }
    }

    /// What follows a frame that no log is without.
    const fn needed(&self, next: &Next) -> Result<(), LogError> {
        match next {
            Next::Frame => Ok(()),
            Next::End | Next::Cut => Err(LogError::TooShort { at: self.at }),
        }
    }

    fn image(&mut self) -> Result<Vec<u8>, LogError> {
        let mut image = Vec::new();
        let next = self.frames.next(Some(&mut image), IMAGE_MAX)?;
        self.needed(&next)?;
        Ok(image)
    }

    /// Goes on behind the image, which need not be held twice.
    fn pass_image(&mut self) -> Result<(), LogError> {
        let next = self.frames.next(None, IMAGE_MAX)?;
        self.needed(&next)
    }

    fn machine(&mut self) -> Result<Machine, LogError> {
        self.at = self.frames.at();
        let next = self.frames.next(Some(&mut self.content), MACHINE_MAX)?;
        self.needed(&next)?;
        self.decoded()
    }

    fn decoded<'d, T: serde::Deserialize<'d>>(&'d self) -> Result<T, LogError> {
        match postcard::take_from_bytes(&self.content) {
            Ok((decoded, [])) => Ok(decoded),
            _ => Err(self.damaged("what stands there is no entry")),
        }
    }

    /// The next entry; `None` at the end, or where the log was cut.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, LogError> {
        self.at = self.frames.at();
        match self.frames.next(Some(&mut self.content), ENTRY_MAX)? {
            Next::Frame => {
                let entry: Entry = self.decoded()?;
                entry.excess().map_or(Ok(Some(entry)), |what| Err(self.damaged(what)))
            }
            Next::End | Next::Cut => Ok(None),
        }
    }

    /// Takes note of the text at an entry.
    pub(crate) const fn mark(&mut self, mark: Mark) {
        self.text = match mark {
            Mark::Same => self.text,
            Mark::Unknown => None,
            Mark::Now(bytes, hash) => Some((bytes, hash)),
        };
    }
}

/// A console that takes so many bytes, and drops what is behind.
struct Console<W> {
    sink: W,
    left: Option<u64>,
}

impl<W: Write> Write for Console<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Some(left) = &mut self.left else { return self.sink.write(bytes) };
        let now = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        if now == 0 {
            return Ok(bytes.len());
        }
        let written = self.sink.write(&bytes[..now])?;
        *left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}
