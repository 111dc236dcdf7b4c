//! Which of a guest's memory holds anything: what was never touched costs neither time nor room.

use crate::error::MemoryError;
use crate::layout::{Gpa, PAGE};
use crate::memory::Memory;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of RAM whose state is asked for at a time, and bytes that are copied at a time.
const LOOK: usize = 256 << 20;
const COPY: usize = 1 << 20;

static ZERO: [u8; 4096] = [0; 4096];

/// Which pages of this process were ever touched, as the kernel tells it: an open
/// /proc/self/pagemap. To be opened while files can still be opened.
#[derive(Debug)]
pub struct Pagemap(Option<File>);

impl Pagemap {
    /// Opens it. Where there is none, every page counts as touched, which costs time and no more.
    #[must_use]
    pub fn open() -> Self {
        Self(File::open("/proc/self/pagemap").ok())
    }

    /// Whether pages of ours from `address` on are in memory or in swap (Linux,
    /// Documentation/admin-guide/mm/pagemap.rst: bits 63 and 62).
    fn touched(&self, address: u64, pages: usize) -> Option<Vec<bool>> {
        let mut entries = vec![[0; 8]; pages];
        let read = self.0.as_ref()?.read_exact_at(entries.as_flattened_mut(), address / PAGE * 8);
        read.ok()?;
        Some(entries.into_iter().map(|entry| u64::from_le_bytes(entry) >> 62 != 0).collect())
    }
}

impl Memory {
    /// Hands on every run of pages of a range of RAM that are not all zero, in order, in pieces of
    /// at most 1 MiB.
    ///
    /// # Errors
    /// `take` says so. What is no RAM in the range is an error of [`io::ErrorKind::InvalidInput`].
    pub fn each_run(
        &self,
        range: &Range<u64>,
        pagemap: &Pagemap,
        mut take: impl FnMut(Gpa, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let host = self.host_address(Gpa(range.start));
        for start in range.clone().step_by(LOOK) {
            let pages = whole_pages(range.end - start).min(whole_pages(LOOK as u64));
            let at = host.map(|host| host + (start - range.start));
            // Where the kernel does not tell, every page may be one.
            let mut holds =
                at.and_then(|at| pagemap.touched(at, pages)).unwrap_or_else(|| vec![true; pages]);
            // Not touched by this process, and yet not zero.
            for shown in self.shown() {
                let inside = shown.start.max(start)..shown.end.min(start + pages as u64 * PAGE);
                if inside.start < inside.end {
                    let page = |gpa: u64| whole_pages(gpa - start);
                    holds[page(inside.start)..page(inside.end)].fill(true);
                }
            }
            let mut from = start;
            for run in holds.chunk_by(|a, b| a == b) {
                let to = from + run.len() as u64 * PAGE;
                if run[0] {
                    self.each_piece(from..to, &mut take)?;
                }
                from = to;
            }
        }
        Ok(())
    }

    /// The same for a range that was touched.
    fn each_piece(
        &self,
        range: Range<u64>,
        take: &mut impl FnMut(Gpa, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let no_ram = |error: MemoryError| io::Error::new(io::ErrorKind::InvalidInput, error);
        let mut buffer = vec![ZERO; whole_pages((range.end - range.start).min(COPY as u64))];
        for start in range.clone().step_by(COPY) {
            let pages = whole_pages(range.end - start).min(buffer.len());
            let pages = &mut buffer[..pages];
            self.read(Gpa(start), pages.as_flattened_mut()).map_err(no_ram)?;
            let mut at = start;
            for run in pages.chunk_by(|a, b| (*a == ZERO) == (*b == ZERO)) {
                if run[0] != ZERO {
                    take(Gpa(at), run.as_flattened())?;
                }
                at += run.len() as u64 * PAGE;
            }
        }
        Ok(())
    }
}

fn whole_pages(bytes: u64) -> usize {
    usize::try_from(bytes / PAGE).unwrap_or(usize::MAX)
}
