//! The outer form of a log: a header, then frames, each with its length and a checksum.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 4 | the format's version, little-endian |
//! | 12 | 4 | the contract's version |
//! | 16 | | frames: 4 bytes of length, 4 of checksum, so many bytes |
//!
//! A frame's checksum is the CRC-32 of all the lengths and contents up to its own, the header
//! among them: so frames that are lost, doubled or moved are found as well.

use crate::error::LogError;
use crc32fast::Hasher;
use std::io::{self, Read, Write};

/// How a log begins: with a byte that is no text, and both kinds of line end, so that whatever
/// takes it for text shows.
pub(crate) const MAGIC: [u8; 8] = *b"\x89PCLOG\r\n";

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

const HEADER: usize = 16;
const FRAME_HEAD: usize = 8;

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

    /// Writes a frame.
    pub(crate) fn put(&mut self, content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::other("an entry has more than 4 GiB"))?;
        self.sum.update(&size.to_le_bytes());
        self.sum.update(content);
        self.sink.write_all(&size.to_le_bytes())?;
        self.sink.write_all(&self.sum.clone().finalize().to_le_bytes())?;
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

impl<R: Read> FrameReader<R> {
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

    /// Reads the next frame's content.
    pub(crate) fn next(&mut self, content: &mut Vec<u8>) -> Result<Next, LogError> {
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
        let (size, sum) = head.split_at(4);
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        let bytes = u64::from(word(size));
        if bytes > left - FRAME_HEAD as u64 {
            self.cut = true;
            return Ok(Next::Cut);
        }
        content.clear();
        // It is there, so this is no more than the file has.
        (&mut self.source).take(bytes).read_to_end(content).map_err(failed(self.at))?;
        self.sum.update(size);
        self.sum.update(content);
        if content.len() as u64 != bytes || self.sum.clone().finalize() != word(sum) {
            return Err(LogError::Damaged { at: self.at, what: "its checksum is wrong there" });
        }
        self.at += FRAME_HEAD as u64 + bytes;
        Ok(Next::Frame)
    }
}
