//! What the process has of the kernel's (proc(5)).

use std::fmt;
use std::fs;

/// Numbers that a leak would let grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    files: usize,
    threads: usize,
    mappings: usize,
    /// POSIX timers.
    timers: usize,
    /// Kilobytes.
    resident: u64,
}

/// Mappings that an allocator may have more of without any leak: arenas, cached stacks.
const MAPPINGS_SLACK: usize = 16;

/// Kilobytes that an allocator may hold more of. A page a VM would be ten times as much in the
/// long run.
const RESIDENT_SLACK: u64 = 4096;

impl Resources {
    pub(crate) fn now() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot read /proc/self: {error}");
        let count = |path| Ok::<_, String>(fs::read_dir(path).map_err(failed)?.count());
        let status = fs::read_to_string("/proc/self/status").map_err(failed)?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
        Ok(Self {
            files: count("/proc/self/fd")?,
            threads: count("/proc/self/task")?,
            mappings: fs::read_to_string("/proc/self/maps").map_err(failed)?.lines().count(),
            // A kernel may be built without the list.
            timers: fs::read_to_string("/proc/self/timers")
                .map_or(0, |it| it.matches("ID:").count()),
            resident: resident.ok_or("/proc/self/status has no VmRSS")?,
        })
    }

    pub(crate) fn no_more_than(&self, before: &Self) -> Result<(), String> {
        let more = self.files != before.files
            || self.threads != before.threads
            || self.timers != before.timers
            || self.mappings > before.mappings + MAPPINGS_SLACK
            || self.resident > before.resident + RESIDENT_SLACK;
        if more { Err(format!("something stayed behind: {before}, then {self}")) } else { Ok(()) }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, threads, mappings, timers, resident } = self;
        write!(f, "{files} files, {threads} threads, {timers} timers, ")?;
        write!(f, "{mappings} mappings, {resident} KiB resident")
    }
}
