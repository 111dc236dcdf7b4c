//! Why a snapshot cannot be read from its file.

use crate::FORMAT;
use crate::cpu::Cpu;
use frame::FrameError;
use std::io;
use std::path::PathBuf;

/// What is wrong with a file. Offsets are bytes from its start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened.
    #[error(
        "cannot read {path}: {source}; give a snapshot that `portcall run --emit snapshot=FILE` wrote"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is no plain file.
    #[error(
        "{path} is no plain file; give a snapshot that `portcall run --emit snapshot=FILE` wrote"
    )]
    NotPlain {
        /// The file.
        path: PathBuf,
    },
    /// Reading failed on the way.
    #[error("cannot read the snapshot at byte {at}: {source}")]
    Read {
        /// Where.
        at: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// It does not begin as a snapshot does.
    #[error(
        "this is no snapshot (it starts with {start:02x?}); give one that \
         `portcall run --emit snapshot=FILE` wrote"
    )]
    Foreign {
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// Another version of the format.
    #[error(
        "the snapshot has format version {version}, this portcall reads versions {} to {}; run \
         it with the portcall that wrote it, or take it again",
        FORMAT.oldest, FORMAT.version
    )]
    Version {
        /// The version.
        version: u32,
    },
    /// Another version of the contract.
    #[error(
        "the snapshot was taken for version {version} of Portcall's contract, this host keeps \
         version {}; take it again",
        portcall::abi::VERSION
    )]
    Contract {
        /// The version.
        version: u32,
    },
    /// Not all of it is there.
    #[error(
        "the snapshot ends at byte {at}, before all of it is there; it was cut short: take it again"
    )]
    Truncated {
        /// Its end.
        at: u64,
    },
    /// A checksum is wrong, or what stands there makes no sense.
    #[error("the snapshot is damaged at byte {at}: {what}; take it again")]
    Damaged {
        /// Where the damaged part begins.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Another processor.
    #[error(
        "the snapshot is from another processor: taken on {theirs}, this is {ours}; take it again \
         here"
    )]
    OtherCpu {
        /// The snapshot's.
        theirs: Box<Cpu>,
        /// That of this machine.
        ours: Box<Cpu>,
    },
    /// Its checksums are right, and yet it is none that was taken.
    #[error("no VM can be made of the snapshot: {0}")]
    Content(#[from] portcall::Error),
}

impl From<FrameError> for FileError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Read { at, source } => Self::Read { at, source },
            FrameError::Foreign { start } => Self::Foreign { start },
            FrameError::Format { version } => Self::Version { version },
            FrameError::Contract { version } => Self::Contract { version },
            FrameError::TooShort { at } => Self::Truncated { at },
            FrameError::Damaged { at, what } => Self::Damaged { at, what },
        }
    }
}
