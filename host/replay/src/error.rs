//! Why a log cannot be used.

use crate::frame::LOG;
use frame::FrameError;
use std::io;
use std::path::PathBuf;

/// What is wrong with a log. Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// It cannot be opened.
    #[error("cannot read {path}: {source}; give a log that `portcall run --emit log=FILE` wrote")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is no plain file.
    #[error("{path} is no plain file; give a log that `portcall run --emit log=FILE` wrote")]
    NotPlain {
        /// The file.
        path: PathBuf,
    },
    /// Reading failed on the way.
    #[error("cannot read the log at byte {at}: {source}")]
    Read {
        /// Where.
        at: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// It does not begin as a log does.
    #[error(
        "this is no log of a run (it starts with {start:02x?}); give one that \
         `portcall run --emit log=FILE` wrote"
    )]
    Foreign {
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// Another version of the format.
    #[error(
        "the log has format version {version}, this portcall reads version {}; replay it with \
         the portcall that wrote it, or record it again",
        LOG.version
    )]
    Format {
        /// The version.
        version: u32,
    },
    /// Another version of the contract.
    #[error(
        "the log was written for version {version} of Portcall's contract, this host keeps version \
         {}; record it again",
        abi::VERSION
    )]
    Contract {
        /// The version.
        version: u32,
    },
    /// It ends before its machine is described, so there is nothing to replay.
    #[error("the log ends at byte {at}, before its first entry; it was cut short: record it again")]
    TooShort {
        /// Its end.
        at: u64,
    },
    /// A checksum is wrong, or an entry makes no sense.
    #[error("the log is damaged at byte {at}: {what}; record it again")]
    Damaged {
        /// Where the damaged part begins.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

impl From<FrameError> for LogError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Read { at, source } => Self::Read { at, source },
            FrameError::Foreign { start } => Self::Foreign { start },
            FrameError::Format { version } => Self::Format { version },
            FrameError::Contract { version } => Self::Contract { version },
            FrameError::TooShort { at } => Self::TooShort { at },
            FrameError::Damaged { at, what } => Self::Damaged { at, what },
        }
    }
}
