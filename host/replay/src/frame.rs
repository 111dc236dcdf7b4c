//! The outer form of a log: a header, then frames, each with its length and a checksum.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 4 | the format's version, little-endian |
//! | 12 | 4 | the contract's version |
//! | 16 | | frames: 4 bytes of length, 4 of its checksum, 4 of the content's, so many bytes |
//!
//! A checksum is the CRC-32 of all the lengths and contents up to there, the header among them:
//! so frames that are lost, doubled or moved are found as well. The length has its own, so that a
//! file which ends before a frame does was cut short, and not damaged where the length stands.

use crate::error::LogError;
use abi::calls::BUFFER_MAX;
use crc32fast::Hasher;
use std::io::{self, Read, Seek, Write};

/// How a log begins: with a byte that is no text, and both kinds of line end, so that whatever
/// takes it for text shows.
pub(crate) const MAGIC: [u8; 8] = *b"\x89PCLOG\r\n";

/// The version of the format.
pub(crate) const FORMAT: u32 = 2;

/// The most that a frame may have: an image; what a machine is made of; and an entry, whose answer
/// may be the largest buffer that a call can have.
pub(crate) const IMAGE_MAX: u64 = 1 << 30;
pub(crate) const MACHINE_MAX: u64 = 4 << 20;
pub(crate) const ENTRY_MAX: u64 = BUFFER_MAX + (4 << 20);

const HEADER: usize = 16;
pub(crate) const FRAME_HEAD: usize = 12;

/// A frame that is larger is checked before it is read into memory.
const AT_ONCE: u64 = 1 << 20;

/// The header's bytes.
fn header() -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[12..].copy_from_slice(&abi::VERSION.to_le_bytes());
    bytes
}

/// Writes a log's header and frames.
pub(crate) struct FrameWriter<W> {
    sink: W,
    sum: Hasher,
}

impl<W: Write> FrameWriter<W> {
    /// Writes the header.
    pub(crate) fn new(mut sink: W) -> io::Result<Self> {
        let header = header();
        sink.write_all(&header)?;
        let mut sum = Hasher::new();
        sum.update(&header);
        Ok(Self { sink, sum })
    }

    /// Writes a frame, of at most so many bytes.
    pub(crate) fn put(&mut self, content: &[u8], most: u64) -> io::Result<()> {
        let size = content.len();
        let fits = u32::try_from(size).ok().filter(|size| u64::from(*size) <= most);
        let fits = fits.ok_or_else(|| {
            let why = format!("{size} bytes for what may have {most} in a log");
            io::Error::new(io::ErrorKind::FileTooLarge, why)
        })?;
        let mut head = [0; FRAME_HEAD];
        head[..4].copy_from_slice(&fits.to_le_bytes());
        self.sum.update(&head[..4]);
        head[4..8].copy_from_slice(&self.sum.clone().finalize().to_le_bytes());
        self.sum.update(content);
        head[8..].copy_from_slice(&self.sum.clone().finalize().to_le_bytes());
        self.sink.write_all(&head)?;
        self.sink.write_all(content)
    }

    /// Hands on what is buffered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// What there is next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A frame, whose content was read.
    Frame,
    /// The end of the file, behind a whole frame.
    End,
    /// The file ends inside a frame.
    Cut,
}

/// Reads them. All that the file says is checked against what is there before anything is
/// allocated for it.
pub(crate) struct FrameReader<R> {
    source: R,
    /// Where the next frame begins.
    at: u64,
    size: u64,
    sum: Hasher,
    /// Whether the file was found to end inside a frame: there is nothing to go on from.
    cut: bool,
}

impl<R: Read + Seek> FrameReader<R> {
    /// Reads the header of a file of `size` bytes.
    pub(crate) fn new(mut source: R, size: u64) -> Result<Self, LogError> {
        let mut start = Vec::new();
        (&mut source)
            .take(HEADER as u64)
            .read_to_end(&mut start)
            .map_err(|source| LogError::Read { at: 0, source })?;
        if !start.starts_with(&MAGIC) {
            start.truncate(MAGIC.len());
            return Err(LogError::Foreign { start });
        }
        let word = |at: usize| {
            let bytes = start.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or(LogError::TooShort { at: start.len() as u64 })
        };
        let (format, contract) = (word(8)?, word(12)?);
        if format != FORMAT {
            return Err(LogError::Format { version: format });
        }
        if contract != abi::VERSION {
            return Err(LogError::Contract { version: contract });
        }
        let mut sum = Hasher::new();
        sum.update(&start);
        Ok(Self { source, at: HEADER as u64, size, sum, cut: false })
    }

    /// Where the next frame begins.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// What it reads from.
    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// Reads the next frame's content, of at most so many bytes; `None` only checks it.
    pub(crate) fn next(
        &mut self,
        content: Option<&mut Vec<u8>>,
        most: u64,
    ) -> Result<Next, LogError> {
        let left = self.size.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        if self.cut || left < FRAME_HEAD as u64 {
            return Ok(Next::Cut);
        }
        let failed = |at| move |source| LogError::Read { at, source };
        let mut head = [0; FRAME_HEAD];
        self.source.read_exact(&mut head).map_err(failed(self.at))?;
        let word = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let damaged = |at, what| Err(LogError::Damaged { at, what });
        let wrong = "its checksum is wrong there";
        let bytes = u64::from(word(0));
        self.sum.update(&head[..4]);
        if self.sum.clone().finalize() != word(4) {
            return damaged(self.at, wrong);
        }
        if bytes > most {
            return damaged(self.at, "more stands there than any recording has");
        }
        if bytes > left - FRAME_HEAD as u64 {
            self.cut = true;
            return Ok(Next::Cut);
        }
        // What is read into memory is no more than the file has, and the large is checked before.
        match content {
            Some(content) if bytes <= AT_ONCE => {
                self.read(bytes, content)?;
                self.sum.update(content);
            }
            content => {
                self.check(bytes)?;
                if self.sum.clone().finalize() != word(8) {
                    return damaged(self.at, wrong);
                }
                if let Some(content) = content {
                    let back = bytes.cast_signed().wrapping_neg();
                    self.source.seek_relative(back).map_err(failed(self.at))?;
                    self.read(bytes, content)?;
                }
            }
        }
        if self.sum.clone().finalize() != word(8) {
            return damaged(self.at, wrong);
        }
        self.at += FRAME_HEAD as u64 + bytes;
        Ok(Next::Frame)
    }

    /// Reads so many bytes, fewer only where the file has become shorter meanwhile.
    fn read(&mut self, bytes: u64, content: &mut Vec<u8>) -> Result<(), LogError> {
        content.clear();
        let read = (&mut self.source).take(bytes).read_to_end(content);
        read.map_err(|source| LogError::Read { at: self.at, source })?;
        Ok(())
    }

    /// Takes so many bytes into the checksum, and keeps none of them.
    fn check(&mut self, bytes: u64) -> Result<(), LogError> {
        let mut source = (&mut self.source).take(bytes);
        let mut piece = vec![0; 64 * 1024];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => self.sum.update(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(LogError::Read { at: self.at, source }),
            }
        }
    }
}
