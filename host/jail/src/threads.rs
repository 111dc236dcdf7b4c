//! Whether other threads run, which Landlock would not bind.

use crate::JailError;
use std::fs::{read_dir, read_to_string};
use std::io;

/// Makes sure that this thread is the process's only one, but for the kernel's own.
pub(crate) fn alone() -> Result<(), JailError> {
    // For a lone thread this changes nothing, and for any other it is an error (unshare(2)). A
    // look into /proc takes some 5 us.
    // SAFETY: the call touches no memory.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
        return Ok(());
    }
    // Some containers refuse that to all.
    match count().map_err(JailError::Count)?.saturating_sub(1) {
        0 => Ok(()),
        others => Err(JailError::Threads { others }),
    }
}

/// This process's threads. KVM has one of its own in each process that runs a VM, which recovers
/// huge pages: since Linux 6.13 that is a thread of the process, but runs nothing of it.
fn count() -> io::Result<u64> {
    /// Linux, include/linux/sched.h.
    const PF_USER_WORKER: u64 = 0x4000;
    let mut count = 0;
    for thread in read_dir("/proc/self/task")? {
        let stat = match read_to_string(thread?.path().join("stat")) {
            Ok(stat) => stat,
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // The flags are the seventh behind the name, which may have anything in it (proc(5)).
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let flags: u64 = fields.nth(6).and_then(|it| it.parse().ok()).unwrap_or(0);
        count += u64::from(flags & PF_USER_WORKER == 0);
    }
    Ok(count)
}
