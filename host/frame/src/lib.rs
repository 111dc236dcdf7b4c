//! The outer form of Portcall's files, logs and snapshots: a header, then frames, each with its
//! length and a checksum.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | the format's [magic](Format::magic) |
//! | 8 | 4 | its version, little-endian |
//! | 12 | 4 | the contract's version |
//! | 16 | | frames: 4 bytes of length, 4 of its checksum, 4 of the content's, so many bytes |
//!
//! A checksum is the CRC-32 of all the lengths and contents up to there, the header among them:
//! so frames that are lost, doubled or moved are found as well. The length has its own, so that a
//! file which ends before a frame does was cut short, and not damaged where the length stands.
//!
//! ```
//! use frame::{Format, FrameReader, FrameWriter, Next};
//! use std::io::Cursor;
//!
//! let format = Format { magic: *b"\x89EXAMPL\n", version: 1, oldest: 1 };
//! let mut file = Vec::new();
//! FrameWriter::new(&mut file, &format)?.put(b"content", 1 << 20)?;
//! let size = file.len() as u64;
//! let mut reader = FrameReader::new(Cursor::new(file), size, &format)?;
//! let mut content = Vec::new();
//! assert_eq!(reader.next(Some(&mut content), 1 << 20)?, Next::Frame);
//! assert_eq!(content, b"content");
//! assert_eq!(reader.next(Some(&mut content), 1 << 20)?, Next::End);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crc32fast::Hasher;
use std::io::{self, Read, Seek, Write};

/// Which format a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// How its files begin: with a byte that is no text, and line ends, so that whatever takes it
    /// for text shows.
    pub magic: [u8; 8],
    /// The version that is written, and the newest that is read.
    pub version: u32,
    /// The oldest version that is read.
    pub oldest: u32,
}

/// Why a file's frames cannot be read. Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Reading failed on the way.
    #[error("cannot read at byte {at}: {source}")]
    Read {
        /// Where.
        at: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// It does not begin as such a file does.
    #[error("it starts with {start:02x?}")]
    Foreign {
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// Another version of the format.
    #[error("it has format version {version}")]
    Format {
        /// The version.
        version: u32,
    },
    /// Another version of the contract.
    #[error("it has version {version} of the contract")]
    Contract {
        /// The version.
        version: u32,
    },
    /// It ends inside its header.
    #[error("it ends at byte {at}")]
    TooShort {
        /// Its end.
        at: u64,
    },
    /// A checksum is wrong, or a frame is larger than any.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where the damaged part begins.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

/// Bytes of the header, and of what stands before a frame's content.
pub const HEADER: usize = 16;
/// See [`HEADER`].
pub const FRAME_HEAD: usize = 12;

/// A frame that is larger is checked before it is read into memory.
const AT_ONCE: u64 = 1 << 20;

impl Format {
    /// The header's bytes.
    fn header(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.magic);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..].copy_from_slice(&abi::VERSION.to_le_bytes());
        bytes
    }
}

/// Writes a header and frames.
#[derive(Debug)]
pub struct FrameWriter<W> {
    sink: W,
    sum: Hasher,
}

impl<W: Write> FrameWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// The sink takes no more.
    pub fn new(mut sink: W, format: &Format) -> io::Result<Self> {
        let header = format.header();
        sink.write_all(&header)?;
        let mut sum = Hasher::new();
        sum.update(&header);
        Ok(Self { sink, sum })
    }

    /// Writes a frame, of at most so many bytes.
    ///
    /// # Errors
    /// It has more, or the sink takes no more.
    pub fn put(&mut self, content: &[u8], most: u64) -> io::Result<()> {
        let size = content.len();
        let fits = u32::try_from(size).ok().filter(|size| u64::from(*size) <= most);
        let fits = fits.ok_or_else(|| {
            let why = format!("{size} bytes for what may have {most} in such a file");
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

    /// What it writes to.
    #[must_use]
    pub fn into_sink(self) -> W {
        self.sink
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// The sink takes no more.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// What there is next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A frame, whose content was read.
    Frame,
    /// The end of the file, behind a whole frame.
    End,
    /// The file ends inside a frame.
    Cut,
}

/// Reads them. All that the file says is checked against what is there before anything is
/// allocated for it.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    /// Where the next frame begins.
    at: u64,
    size: u64,
    sum: Hasher,
    /// Whether the file was found to end inside a frame: there is nothing to go on from.
    cut: bool,
    version: u32,
}

impl<R: Read + Seek> FrameReader<R> {
    /// Reads the header of a file of `size` bytes.
    ///
    /// # Errors
    /// It is another format's, another version's, too short, or cannot be read.
    pub fn new(mut source: R, size: u64, format: &Format) -> Result<Self, FrameError> {
        let mut start = Vec::new();
        (&mut source)
            .take(HEADER as u64)
            .read_to_end(&mut start)
            .map_err(|source| FrameError::Read { at: 0, source })?;
        if !start.starts_with(&format.magic) {
            start.truncate(format.magic.len());
            return Err(FrameError::Foreign { start });
        }
        let word = |at: usize| {
            let bytes = start.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or(FrameError::TooShort { at: start.len() as u64 })
        };
        let (version, contract) = (word(8)?, word(12)?);
        if !(format.oldest..=format.version).contains(&version) {
            return Err(FrameError::Format { version });
        }
        if contract != abi::VERSION {
            return Err(FrameError::Contract { version: contract });
        }
        let mut sum = Hasher::new();
        sum.update(&start);
        Ok(Self { source, at: HEADER as u64, size, sum, cut: false, version })
    }

    /// The version of its format.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Where the next frame begins.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// What it reads from.
    #[must_use]
    pub fn into_source(self) -> R {
        self.source
    }

    /// Reads the next frame's content, of at most so many bytes; `None` only checks it.
    ///
    /// # Errors
    /// It is damaged, or cannot be read.
    pub fn next(&mut self, content: Option<&mut Vec<u8>>, most: u64) -> Result<Next, FrameError> {
        let left = self.size.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        if self.cut || left < FRAME_HEAD as u64 {
            return Ok(Next::Cut);
        }
        let failed = |at| move |source| FrameError::Read { at, source };
        let mut head = [0; FRAME_HEAD];
        self.source.read_exact(&mut head).map_err(failed(self.at))?;
        let word = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let damaged = |at, what| Err(FrameError::Damaged { at, what });
        let wrong = "its checksum is wrong there";
        let bytes = u64::from(word(0));
        self.sum.update(&head[..4]);
        if self.sum.clone().finalize() != word(4) {
            return damaged(self.at, wrong);
        }
        if bytes > most {
            return damaged(self.at, "more stands there than any such file has");
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
    fn read(&mut self, bytes: u64, content: &mut Vec<u8>) -> Result<(), FrameError> {
        content.clear();
        let read = (&mut self.source).take(bytes).read_to_end(content);
        read.map_err(|source| FrameError::Read { at: self.at, source })?;
        Ok(())
    }

    /// Takes so many bytes into the checksum, and keeps none of them.
    fn check(&mut self, bytes: u64) -> Result<(), FrameError> {
        let mut source = (&mut self.source).take(bytes);
        let mut piece = vec![0; 64 * 1024];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => self.sum.update(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(FrameError::Read { at: self.at, source }),
            }
        }
    }
}
