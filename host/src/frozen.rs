//! A guest's memory at one moment, kept once for any number of VMs: a sealed memfd, whose pages
//! each VM sees until it writes to them.

use crate::layout::{Gpa, PAGE};
use crate::memory::Memory;
use crate::sparse::Pagemap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::ptr;

/// The most pieces that a VM shows of it, each a mapping of its own (the kernel allows a process
/// some 65,000).
const MAX_PIECES: usize = 64;

/// The memory in the making.
#[derive(Debug)]
pub(crate) struct Freezer {
    file: File,
    ram: Vec<Range<u64>>,
    runs: Vec<Range<u64>>,
}

impl Freezer {
    /// For RAM of these ranges; all zero so far.
    pub(crate) fn new(ram: &[Range<u64>]) -> io::Result<Self> {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is a string of C; the call makes a new file descriptor.
        let fd = unsafe { libc::memfd_create(c"portcall-snapshot".as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(ram.iter().map(|range| range.end - range.start).sum())?;
        Ok(Self { file, ram: ram.to_vec(), runs: Vec::new() })
    }

    /// Writes whole pages. They come in order.
    pub(crate) fn put(&mut self, gpa: Gpa, bytes: &[u8]) -> io::Result<()> {
        let end = gpa.0.checked_add(bytes.len() as u64);
        let at = end.and_then(|end| offset(&self.ram, &(gpa.0..end)));
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        self.file.write_all_at(bytes, at)?;
        let end = gpa.0 + bytes.len() as u64;
        match self.runs.last_mut() {
            Some(last) if last.end == gpa.0 => last.end = end,
            _ => self.runs.push(gpa.0..end),
        }
        Ok(())
    }

    /// From here on nobody can change it.
    pub(crate) fn seal(self) -> io::Result<Frozen> {
        let Self { file, ram, runs } = self;
        let seals =
            libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
        // SAFETY: the call takes numbers alone.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let fd = file.as_raw_fd();
        // SAFETY: a new mapping, wherever there is room, touches nothing that exists.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pieces = pieces(&ram, &runs);
        Ok(Frozen { file, ram, runs, pieces, start: start.cast(), size })
    }
}

/// A guest's memory at one moment.
#[derive(Debug)]
pub(crate) struct Frozen {
    file: File,
    ram: Vec<Range<u64>>,
    /// The pages that are not zero, by guest-physical address.
    runs: Vec<Range<u64>>,
    /// The same, with small gaps filled.
    pieces: Vec<Range<u64>>,
    /// Where all of it is mapped.
    start: *const u8,
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and nobody can write to it.
unsafe impl Send for Frozen {}
// SAFETY: as above.
unsafe impl Sync for Frozen {}

impl Frozen {
    /// A copy of what a guest's memory holds.
    pub(crate) fn of(memory: &Memory, ram: &[Range<u64>], pagemap: &Pagemap) -> io::Result<Self> {
        let mut freezer = Freezer::new(ram)?;
        for range in ram {
            memory.each_run(range, pagemap, |gpa, bytes| freezer.put(gpa, bytes))?;
        }
        freezer.seal()
    }

    /// The pages that are not zero, by guest-physical address, in order.
    pub(crate) fn runs(&self) -> &[Range<u64>] {
        &self.runs
    }

    /// What a VM shows of it: what lies between is zero.
    pub(crate) fn pieces(&self) -> &[Range<u64>] {
        &self.pieces
    }

    /// The file, and where a range of RAM stands in it.
    pub(crate) fn place(&self, range: &Range<u64>) -> Option<(&File, u64)> {
        Some((&self.file, offset(&self.ram, range)?))
    }

    /// The bytes of a range that is in one run; `None` where it is not.
    pub(crate) fn bytes(&self, range: &Range<u64>) -> Option<&[u8]> {
        let run = self.runs.partition_point(|run| run.end <= range.start);
        let run = self.runs.get(run)?;
        if range.start < run.start || run.end < range.end {
            return None;
        }
        let at = usize::try_from(offset(&self.ram, range)?).ok()?;
        let size = usize::try_from(range.end - range.start).ok()?;
        at.checked_add(size).filter(|end| *end <= self.size)?;
        // SAFETY: `at` is inside the mapping, as was just checked.
        let start = unsafe { self.start.add(at) };
        // SAFETY: so are the `size` bytes behind it. The file is sealed: they never change, nor
        // does it shrink, and the mapping lives as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(start, size) })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this size, and is unmapped once.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.size) };
    }
}

/// Where a range of RAM stands in the file: the ranges of RAM one after the other.
fn offset(ram: &[Range<u64>], range: &Range<u64>) -> Option<u64> {
    let mut before = 0;
    for part in ram {
        if part.start <= range.start && range.end <= part.end {
            return Some(before + (range.start - part.start));
        }
        before += part.end - part.start;
    }
    None
}

/// The runs, with gaps filled as far as it takes to have few of them. A hole in a memfd costs a
/// page of its own when it is first read, so that large gaps are better left out.
fn pieces(ram: &[Range<u64>], runs: &[Range<u64>]) -> Vec<Range<u64>> {
    let part = |at: u64| ram.iter().position(|range| range.contains(&at));
    let mut gap = 16 * PAGE;
    loop {
        let mut pieces: Vec<Range<u64>> = Vec::new();
        for run in runs {
            match pieces.last_mut() {
                Some(last)
                    if run.start - last.end <= gap && part(last.start) == part(run.start) =>
                {
                    last.end = run.end;
                }
                _ => pieces.push(run.clone()),
            }
        }
        if pieces.len() <= MAX_PIECES {
            return pieces;
        }
        gap *= 2;
    }
}
