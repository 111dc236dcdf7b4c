//! Why a jail cannot be entered.

use landlock::PathFdError;
use std::io;
use std::path::PathBuf;

/// What went wrong. The process is then less confined than was asked for, and may be partly so:
/// better end it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JailError {
    /// Other threads run already, which Landlock would not bind.
    #[error(
        "{others} other threads run already, and Landlock binds none of them: enter the jail before \
         they are started"
    )]
    Threads {
        /// How many.
        others: u64,
    },
    /// How many threads there are cannot be told.
    #[error("cannot count this process's threads in /proc/self/task: {0}; mount /proc")]
    Count(#[source] io::Error),
    /// A named place cannot be opened.
    #[error("cannot allow opens beneath {}: {source}; name what is there", path.display())]
    Root {
        /// The place.
        path: PathBuf,
        /// What the kernel said.
        source: PathFdError,
    },
    /// Landlock refused the rules.
    #[error("Landlock refuses the jail's rules: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// Seccomp refused the filter.
    #[error("seccomp refuses the jail's filter: {0} (the kernel needs CONFIG_SECCOMP_FILTER)")]
    Seccomp(#[source] seccompiler::Error),
}
