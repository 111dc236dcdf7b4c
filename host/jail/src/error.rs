//! Why a jail cannot be entered.

use landlock::PathFdError;
use std::error::Error;
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
    #[error(
        "cannot count this process's threads in /proc/self/task: {0}{hint}",
        hint = hint(.0, "mount /proc")
    )]
    Count(#[source] io::Error),
    /// A named place cannot be opened.
    #[error(
        "cannot allow opens beneath {}: {source}{}",
        path.display(),
        hint(source, "name what is there")
    )]
    Root {
        /// The place.
        path: PathBuf,
        /// What the kernel said.
        source: PathFdError,
    },
    /// Landlock refused the rules.
    #[error("Landlock refuses the jail's rules: {0}{hint}", hint = hint(.0, ""))]
    Landlock(#[from] landlock::RulesetError),
    /// Seccomp refused the filter.
    #[error("seccomp refuses the jail's filter: {0} (the kernel needs CONFIG_SECCOMP_FILTER)")]
    Seccomp(#[source] seccompiler::Error),
}

impl JailError {
    /// Whether there were no descriptors for it (`ulimit -n`): for what else the process opens there
    /// are none either.
    #[must_use]
    pub fn is_of_descriptors(&self) -> bool {
        match self {
            Self::Root { source, .. } => is_of_descriptors(source),
            Self::Landlock(source) => is_of_descriptors(source),
            Self::Count(source) => is_of_descriptors(source),
            _ => false,
        }
    }
}

/// Whether the kernel has said so at the bottom of this error.
fn is_of_descriptors(error: &(dyn Error + 'static)) -> bool {
    let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    matches!(code, Some(libc::EMFILE | libc::ENFILE))
        || error.source().is_some_and(is_of_descriptors)
}

/// What to do about it: `usual`, or about the limit.
fn hint(error: &(dyn Error + 'static), usual: &'static str) -> String {
    match usual {
        _ if is_of_descriptors(error) => "; raise ulimit -n".to_owned(),
        "" => String::new(),
        usual => format!("; {usual}"),
    }
}
