//! Memory of this process with nothing of its own on either side of it.

use std::io;
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
