//! Memory of this process with nothing of its own on either side of it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// Bytes on each side that nobody may touch. Address space costs nothing, and this is more than
/// any one access of the host's to its guest's memory that is not split.
pub(crate) const GUARD: usize = 2 << 20;

/// A private, zero, sparse mapping between two guards: whoever runs over its end, or steps before
/// its start, gets a fault in place of something else's memory. Unmapped with this value.
#[derive(Debug)]
pub(crate) struct Guarded {
    /// Where the first guard begins.
    base: *mut libc::c_void,
    /// Bytes between the guards.
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; this type itself never follows the
// pointer.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Maps `size` bytes, whole pages, without reserving memory for them.
    pub(crate) fn map(size: usize) -> io::Result<Self> {
        let no_room = || io::Error::from(io::ErrorKind::OutOfMemory);
        let all = size.checked_add(2 * GUARD).ok_or_else(no_room)?;
        // SAFETY: a new mapping, wherever there is room, touches nothing that exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), all, libc::PROT_NONE, Self::FLAGS, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = Self { base, size };
        // SAFETY: the pages are inside the mapping that was just made, and nobody uses them yet.
        if unsafe { libc::mprotect(mapping.start().cast(), size, Self::ACCESS) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping)
    }

    /// Shows a file's bytes from `offset` on in the place of the `size` bytes at `at`, both whole
    /// pages: what is written there stays here.
    pub(crate) fn show(&self, at: usize, size: usize, file: &File, offset: u64) -> io::Result<()> {
        let outside = || io::Error::from(io::ErrorKind::InvalidInput);
        at.checked_add(size).filter(|end| *end <= self.size).ok_or_else(outside)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| outside())?;
        let place = self.start().wrapping_add(at).cast();
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: the pages are between the guards, as was just checked, and so are nobody else's.
        let there =
            unsafe { libc::mmap(place, size, Self::ACCESS, flags, file.as_raw_fd(), offset) };
        if there == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes all of it as it was when it was mapped: zero, no file.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let (place, flags) = (self.start().cast(), Self::FLAGS | libc::MAP_FIXED);
        // SAFETY: as above.
        let there = unsafe { libc::mmap(place, self.size, Self::ACCESS, flags, -1, 0) };
        if there == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Drops what was written to it: zero again, or as the file has it that is shown there.
    pub(crate) fn drop_writes(&self) -> io::Result<()> {
        // SAFETY: the pages are between the guards, and this process holds no reference into them.
        let done = unsafe { libc::madvise(self.start().cast(), self.size, libc::MADV_DONTNEED) };
        if done != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What may be done with the memory (mmap(2), prot).
    pub(crate) const ACCESS: i32 = libc::PROT_READ | libc::PROT_WRITE;
    /// How it is mapped (mmap(2), flags).
    pub(crate) const FLAGS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

    /// The first byte between the guards.
    pub(crate) fn start(&self) -> *mut u8 {
        self.base.cast::<u8>().wrapping_add(GUARD)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this size, and is unmapped once.
        unsafe { libc::munmap(self.base, self.size + 2 * GUARD) };
    }
}
