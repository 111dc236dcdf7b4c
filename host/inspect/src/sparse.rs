//! Copies RAM into a file, but for what was never touched: that costs neither time nor disk.

use crate::core::Error;
use portcall::layout::PAGE;
use portcall::{Gpa, Vm};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of RAM whose state is asked for at a time, and bytes that are copied at a time.
const LOOK: usize = 256 << 20;
const COPY: usize = 1 << 20;

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
}

/// Copies the pages of a range of RAM that were ever touched; `at` is its place in the file.
pub(crate) fn copy_touched(
    vm: &Vm,
    range: &Range<u64>,
    pagemap: &Pagemap,
    file: &File,
    at: u64,
) -> Result<(), Error> {
    let host = vm.memory().host_address(Gpa(range.start));
    let pagemap = pagemap.0.as_ref().zip(host);
    for start in range.clone().step_by(LOOK) {
        let pages = whole_pages(range.end - start).min(whole_pages(LOOK as u64));
        let touched = pagemap
            .as_ref()
            .and_then(|(file, host)| touched(file, host + (start - range.start), pages).ok());
        // Where the kernel does not tell, every page may be one.
        let touched = touched.unwrap_or_else(|| vec![true; pages]);
        let mut from = start;
        for run in touched.chunk_by(|a, b| a == b) {
            let to = from + run.len() as u64 * PAGE;
            if run[0] {
                copy(vm, from..to, file, at + (from - range.start))?;
            }
            from = to;
        }
    }
    Ok(())
}

/// Whether pages of ours are in memory or in swap (Linux,
/// Documentation/admin-guide/mm/pagemap.rst: bits 63 and 62).
fn touched(pagemap: &File, address: u64, pages: usize) -> io::Result<Vec<bool>> {
    let mut entries = vec![[0; 8]; pages];
    pagemap.read_exact_at(entries.as_flattened_mut(), address / PAGE * 8)?;
    Ok(entries.into_iter().map(|entry| u64::from_le_bytes(entry) >> 62 != 0).collect())
}

/// Copies a range of RAM but for the pages that are zero, as the file is already.
fn copy(vm: &Vm, range: Range<u64>, file: &File, mut at: u64) -> Result<(), Error> {
    static ZERO: [u8; 4096] = [0; 4096];
    let mut buffer = vec![ZERO; whole_pages((range.end - range.start).min(COPY as u64))];
    for start in range.clone().step_by(COPY) {
        let pages = whole_pages(range.end - start).min(buffer.len());
        let pages = &mut buffer[..pages];
        vm.memory().read(Gpa(start), pages.as_flattened_mut()).map_err(portcall::Error::from)?;
        for run in pages.chunk_by(|a, b| (*a == ZERO) == (*b == ZERO)) {
            if run[0] != ZERO {
                file.write_all_at(run.as_flattened(), at)?;
            }
            at += run.len() as u64 * PAGE;
        }
    }
    Ok(())
}

fn whole_pages(bytes: u64) -> usize {
    usize::try_from(bytes / PAGE).unwrap_or(usize::MAX)
}
