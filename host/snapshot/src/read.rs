//! Reading a snapshot: all that stands in its file is a claim until it is checked.

use crate::content::{First, Machine};
use crate::cpu::Cpu;
use crate::error::FileError;
use crate::{CPU_MAX, FORMAT, IMAGE_MAX, MACHINE_MAX, PAGES_MAX};
use frame::{FrameReader, Next};
use portcall::{Gpa, Image, Parts, Snapshot};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Whether a file that begins like this is a snapshot; it takes 8 bytes.
#[must_use]
pub fn is_snapshot(start: &[u8]) -> bool {
    start.starts_with(&FORMAT.magic)
}

/// Opens a snapshot: the guest's whole ELF file, and the rest.
///
/// # Errors
/// It is no snapshot, one of another version or from another processor, cut short or damaged, as
/// far as it is read by then: the memory comes with [`Saved::snapshot`].
pub fn open(path: &Path) -> Result<(Vec<u8>, Saved), FileError> {
    let failed = |source| FileError::Open { path: path.into(), source };
    // A pipe would wait for its writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(FileError::NotPlain { path: path.into() });
    }
    read(File::open(path).map_err(failed)?)
}

/// Reads a snapshot from wherever it is.
///
/// # Errors
/// As for [`open`].
pub fn read(source: impl Read + Seek + 'static) -> Result<(Vec<u8>, Saved), FileError> {
    let mut source: Box<dyn Source> = Box::new(source);
    let failed = |source| FileError::Read { at: 0, source };
    let size = source.seek(SeekFrom::End(0)).map_err(failed)?;
    source.rewind().map_err(failed)?;
    let frames = FrameReader::new(BufReader::new(source), size, &FORMAT)?;
    let mut saved = Saved { frames, parts: None };
    let mut content = Vec::new();
    let at = saved.frames.at();
    saved.next(&mut content, CPU_MAX)?;
    let (theirs, ours): (Cpu, _) = (decoded(&content, at)?, Cpu::this());
    if theirs != ours {
        return Err(FileError::OtherCpu { theirs: Box::new(theirs), ours: Box::new(ours) });
    }
    let mut image = Vec::new();
    saved.next(&mut image, IMAGE_MAX)?;
    let at = saved.frames.at();
    saved.next(&mut content, MACHINE_MAX)?;
    let machine = match saved.frames.version() {
        1 => decoded::<First>(&content, at)?.into(),
        _ => decoded::<Machine>(&content, at)?,
    };
    saved.parts = Some(machine.into());
    Ok((image, saved))
}

trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// A snapshot of which all but its memory was read.
pub struct Saved {
    frames: FrameReader<BufReader<Box<dyn Source>>>,
    /// There once it is handed out.
    parts: Option<Parts>,
}

impl Saved {
    /// Reads the memory as well: the snapshot. `image` is what came with it.
    ///
    /// # Errors
    /// It is cut short or damaged; or what is in it contradicts the image or itself; or the kernel
    /// has no room for the memory.
    pub fn snapshot(mut self, image: &Image<'_>) -> Result<Snapshot, FileError> {
        let parts = self.parts.take();
        let parts = parts.ok_or(FileError::Truncated { at: self.frames.at() })?;
        let mut assembly = Snapshot::assemble(image, parts)?;
        let mut content = Vec::new();
        loop {
            let at = self.frames.at();
            self.next(&mut content, PAGES_MAX)?;
            match content.split_first_chunk() {
                Some((gpa, pages)) => assembly.put(Gpa(u64::from_le_bytes(*gpa)), pages)?,
                None if content.is_empty() => break,
                None => {
                    return Err(FileError::Damaged { at, what: "what stands there is no page" });
                }
            }
        }
        let at = self.frames.at();
        match self.frames.next(None, PAGES_MAX)? {
            Next::End => Ok(assembly.finish()?),
            _ => Err(FileError::Damaged { at, what: "something stands behind its end" }),
        }
    }

    /// The next frame, which has to be there.
    fn next(&mut self, content: &mut Vec<u8>, most: u64) -> Result<(), FileError> {
        match self.frames.next(Some(content), most)? {
            Next::Frame => Ok(()),
            Next::End | Next::Cut => Err(FileError::Truncated { at: self.frames.at() }),
        }
    }
}

fn decoded<'d, T: serde::Deserialize<'d>>(content: &'d [u8], at: u64) -> Result<T, FileError> {
    match postcard::take_from_bytes(content) {
        Ok((decoded, [])) => Ok(decoded),
        _ => Err(FileError::Damaged { at, what: "what stands there is no part of a snapshot" }),
    }
}

impl fmt::Debug for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Saved(read up to byte {})", self.frames.at())
    }
}
