//! What the kernel has for a jail.

use std::ptr;

/// What the kernel has for a jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Support {
    /// Whether filters of system calls can be installed.
    pub seccomp: bool,
    /// The version of Landlock (landlock(7)), if there is one and it is turned on.
    pub landlock: Option<u32>,
}

/// Asks the kernel, and changes nothing.
#[must_use]
pub fn support() -> Support {
    /// landlock_create_ruleset(2): gives the version, and makes nothing.
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    let errno = libc::SECCOMP_RET_ERRNO;
    // SAFETY: `errno` is readable for the call's duration.
    let seccomp = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const errno)
    };
    // SAFETY: with this flag the kernel takes no memory of ours, and wants null and 0.
    let landlock = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<u8>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    let landlock = u32::try_from(landlock).ok().filter(|version| *version > 0);
    Support { seccomp: seccomp == 0, landlock }
}
