//! The entries of a log, as they stand in its frames (postcard). The first frame is the image's
//! file as it is, the second the [`Machine`], and each of the others an [`Entry`].

use crate::end::{EndDef, GpaDef};
use abi::host::Level;
use abi::port;
use portcall::tape::{Effect, Given, Text, What};
use portcall::{Builder, End, Gpa, Ring};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much of what the host has read stands in the log, besides its checksum.
pub(crate) const SHOWN: usize = 32;

/// How often a replay looks whether it is to end.
const TICK: Duration = Duration::from_millis(10);

/// What a recorded VM was made of besides its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Machine {
    /// Bytes of RAM.
    pub memory: u64,
    /// Whether the guest started in ring 3.
    pub user: bool,
    /// The guest's arguments.
    pub arguments: Vec<String>,
}

impl Machine {
    pub(crate) fn new(machine: &portcall::tape::Machine<'_>) -> Self {
        let portcall::tape::Machine { memory, ring, arguments, .. } = *machine;
        Self { memory, user: ring == Ring::Three, arguments: arguments.to_vec() }
    }

    /// The ring that the guest started in.
    #[must_use]
    pub const fn ring(&self) -> Ring {
        if self.user { Ring::Three } else { Ring::Zero }
    }

    /// Has a VM made of the same, with a tick: by ticks a replay finds where the recorded run was
    /// ended from outside.
    #[must_use]
    pub fn apply<'a>(&self, builder: Builder<'a>) -> Builder<'a> {
        let arguments = self.arguments.iter().cloned();
        builder.memory(self.memory).ring(self.ring()).arguments(arguments).tick(TICK)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// The guest asked, and was answered.
    Exit(Asked, Mark, Vec<Done>, Gave, Ends),
    /// The host did this while the guest did not run.
    Between(Vec<Done>),
    /// The run ended, in the answer to the last exit or while the guest ran.
    End(#[serde(with = "EndDef")] End, Mark),
    /// The recording is complete; the run's process code.
    Close(u8),
}

/// Whether an exit's answer ended the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ends(pub(crate) bool);

/// An exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asked {
    In {
        port: u16,
        width: u8,
        count: u32,
        by_host: bool,
    },
    Out {
        port: u16,
        width: u8,
        count: u32,
        by_host: bool,
        #[serde(with = "serde_bytes")]
        written: Vec<u8>,
    },
    /// With the words of its arguments, if their number is known.
    Call {
        number: u32,
        words: Vec<u64>,
    },
    /// Anything else, in words.
    Other(String),
}

impl Asked {
    pub(crate) fn new(what: &What<'_>) -> Self {
        match *what {
            What::Port { port, width, count, written: None, by_host } => {
                Self::In { port, width, count, by_host }
            }
            What::Port { port, width, count, written: Some(written), by_host } => {
                // What is written to these means nothing, so that it may be anything.
                let nothing = matches!(port, port::FLUSH | port::PANIC | port::EXCEPTION);
                let written = if nothing { Vec::new() } else { written.to_vec() };
                Self::Out { port, width, count, by_host, written }
            }
            What::Call { number, words, arguments } => {
                let words = words.get(..arguments).unwrap_or(words);
                Self::Call { number, words: words.to_vec() }
            }
            What::Exit(exit) => Self::Other(exit.to_string()),
            // There is none, until a later version of the core has one.
            _ => Self::Other("an exit of an unknown kind".to_owned()),
        }
    }

    /// Whether another exit is the same: of a call, as far as the words of this one go.
    pub(crate) fn is(&self, what: &What<'_>) -> bool {
        match (self, Self::new(what)) {
            (Self::In { port, width, count, .. }, Self::In { port: p, width: w, count: c, .. }) => {
                (port, width, count) == (&p, &w, &c)
            }
            (
                Self::Out { port, width, count, written, .. },
                Self::Out { port: p, width: w, count: c, written: bytes, .. },
            ) => (port, width, count, written) == (&p, &w, &c, &bytes),
            (Self::Call { number, words }, Self::Call { number: other, .. }) => {
                let What::Call { words: now, .. } = what else { return false };
                number == &other && now.starts_with(words)
            }
            (Self::Other(text), Self::Other(other)) => *text == other,
            _ => false,
        }
    }

    /// Whether the answer was the host's to give, rather than a matter of what the guest does.
    pub(crate) const fn by_host(&self) -> bool {
        match self {
            Self::In { by_host, .. } | Self::Out { by_host, .. } => *by_host,
            Self::Call { .. } => true,
            Self::Other(_) => false,
        }
    }
}

/// The console text by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mark {
    /// As in the entry before.
    Same,
    /// Some was lost, and how much is a matter of time.
    Unknown,
    /// Bytes and hash.
    Now(u64, u64),
}

impl Mark {
    pub(crate) const fn new(text: Text) -> Self {
        if text.lost > 0 { Self::Unknown } else { Self::Now(text.bytes, text.hash) }
    }
}

/// What the host did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Done {
    /// It read so much, with this checksum and this start.
    Read {
        #[serde(with = "GpaDef")]
        at: Gpa,
        size: u64,
        sum: u32,
        #[serde(with = "serde_bytes")]
        start: Vec<u8>,
    },
    Write {
        #[serde(with = "GpaDef")]
        at: Gpa,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    Print(#[serde(with = "serde_bytes")] Vec<u8>),
    Annotate(String, String),
    Log(u8, String),
}

/// By their place here, the worst first.
const LEVELS: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

impl Done {
    /// `None` for what no replay could do.
    pub(crate) fn new(effect: &Effect) -> Option<Self> {
        Some(match effect {
            Effect::Read { at, bytes } => Self::Read {
                at: *at,
                size: bytes.len() as u64,
                sum: crc32fast::hash(bytes),
                start: bytes[..bytes.len().min(SHOWN)].to_vec(),
            },
            Effect::Write { at, bytes } => Self::Write { at: *at, bytes: bytes.clone() },
            Effect::Print(text) => Self::Print(text.clone()),
            Effect::Annotate { key, value } => Self::Annotate(key.clone(), value.clone()),
            Effect::Log(level, text) => {
                let level = LEVELS.iter().position(|known| known == level)?;
                Self::Log(u8::try_from(level).ok()?, text.clone())
            }
            _ => return None,
        })
    }

    /// The level of a log line; whatever a log says, there is one.
    pub(crate) fn level(number: u8) -> Level {
        LEVELS.get(usize::from(number)).copied().unwrap_or(Level::Trace)
    }
}

/// What the guest was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Gave {
    Nothing,
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Words(Vec<u64>),
}

impl Gave {
    pub(crate) fn new(given: &Given) -> Self {
        match given {
            Given::Nothing => Self::Nothing,
            Given::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Given::Words(words) => Self::Words(words.clone()),
        }
    }

    pub(crate) fn given(self) -> Given {
        match self {
            Self::Nothing => Given::Nothing,
            Self::Bytes(bytes) => Given::Bytes(bytes),
            Self::Words(words) => Given::Words(words),
        }
    }
}
