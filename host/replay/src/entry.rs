//! The entries of a log, as they stand in its frames (postcard). The first frame is the image's
//! file as it is, the second the [`Machine`], and each of the others an [`Entry`].

use crate::end::{EndDef, GpaDef};
use abi::calls::WORDS_MAX;
use abi::host::Level;
use abi::{mailbox, port};
use portcall::mmio::WINDOWS_MAX;
use portcall::msrs::RANGES_MAX;
use portcall::tape::{Effect, Given, Text, What};
use portcall::{Builder, End, Gpa, Mmio, Msrs, Ring};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

/// How much of what the host has read stands in the log, besides its checksum.
pub(crate) const SHOWN: usize = 32;

/// The most that an entry may have of what the host did: the six largest buffers that a call can
/// have, read by the page and written by the page.
pub(crate) const EFFECTS_MAX: usize = 1 << 16;

/// The most arguments.
pub(crate) const ARGUMENTS_MAX: usize = 1 << 16;

/// The most bytes that are read at once: all of the mailbox. Guest memory is read by the page.
const READ_MAX: u64 = mailbox::SIZE;

/// The largest signal.
const SIGNAL_MAX: i32 = 64;

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
    #[serde(deserialize_with = "at_most::<_, _, ARGUMENTS_MAX>")]
    pub arguments: Vec<String>,
    /// The windows of memory-mapped I/O: guest-physical addresses.
    #[serde(deserialize_with = "at_most::<_, _, WINDOWS_MAX>")]
    pub windows: Vec<Range<u64>>,
    /// The model-specific registers that the host answered for.
    #[serde(deserialize_with = "at_most::<_, _, RANGES_MAX>")]
    pub msrs: Vec<RangeInclusive<u32>>,
}

/// Who answers where a replay does: nobody is asked.
struct Nobody;

impl Mmio for Nobody {}
impl Msrs for Nobody {}

impl Machine {
    /// What no log may have.
    pub(crate) const fn excess(&self) -> Option<&'static str> {
        if self.arguments.len() > ARGUMENTS_MAX { Some("it has too many arguments") } else { None }
    }

    pub(crate) fn new(machine: &portcall::tape::Machine<'_>) -> Self {
        let portcall::tape::Machine { memory, ring, arguments, windows, msrs, .. } = *machine;
        Self {
            memory,
            user: ring == Ring::Three,
            arguments: arguments.to_vec(),
            windows: windows.to_vec(),
            msrs: msrs.to_vec(),
        }
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
        let mut builder = builder.memory(self.memory).ring(self.ring()).arguments(arguments);
        for window in &self.windows {
            builder = builder.mmio(window.clone(), Nobody);
        }
        for range in &self.msrs {
            builder = builder.msrs(range.clone(), Nobody);
        }
        builder.tick(TICK)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// The guest asked, and was answered.
    Exit(
        Asked,
        Mark,
        #[serde(deserialize_with = "at_most::<_, _, EFFECTS_MAX>")] Vec<Done>,
        Gave,
        Ends,
    ),
    /// The host did this while the guest did not run.
    Between(#[serde(deserialize_with = "at_most::<_, _, EFFECTS_MAX>")] Vec<Done>),
    /// The run ended, in the answer to the last exit or while the guest ran.
    End(#[serde(with = "EndDef")] End, Mark),
    /// The recording is complete; the signal that stopped the run, if one did.
    Close(Option<i32>),
}

impl Entry {
    /// What no recording has, and so no log may have: a replay works through what an entry claims.
    pub(crate) fn excess(&self) -> Option<&'static str> {
        let done = match self {
            Self::Exit(asked, _, done, gave, _) => {
                let words = match asked {
                    Asked::Call { words, .. } => words.len(),
                    _ => 0,
                };
                let result = if let Gave::Words(words) = gave { words.len() } else { 0 };
                if words.max(result) > WORDS_MAX {
                    return Some("a call there has too many words");
                }
                done
            }
            Self::Between(done) => done,
            Self::Close(Some(signal)) if !(1..=SIGNAL_MAX).contains(signal) => {
                return Some("there is no such signal");
            }
            Self::End(..) | Self::Close(_) => return None,
        };
        if done.len() > EFFECTS_MAX {
            return Some("the host does too much there at once");
        }
        let too_large = |done: &Done| match done {
            Done::Read { size, start, .. } => *size > READ_MAX || start.len() > SHOWN,
            _ => false,
        };
        done.iter().any(too_large).then_some("the host reads too much there at once")
    }
}

/// A list of at most so many: what comes behind them is not even kept until it is refused.
fn at_most<'d, D, T, const MOST: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'d>,
    T: Deserialize<'d>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);

    impl<'d, T: Deserialize<'d>, const MOST: usize> Visitor<'d> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'d>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = from.next_element()? {
                if list.len() == MOST {
                    return Err(A::Error::custom("too many"));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    from.deserialize_seq(List::<T, MOST>(PhantomData))
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
        #[serde(deserialize_with = "at_most::<_, _, WORDS_MAX>")]
        words: Vec<u64>,
    },
    /// Anything else, in words.
    Other(String),
    /// An access to a window: address, bytes, and what is written.
    Mmio(#[serde(with = "GpaDef")] Gpa, u8, Option<u64>),
    /// An access to a model-specific register: its number, and what is written.
    Msr(u32, Option<u64>),
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
            What::Mmio(access) => {
                Self::Mmio(access.gpa, u8::try_from(access.size).unwrap_or(u8::MAX), access.write)
            }
            What::Msr(access) => Self::Msr(access.index, access.write),
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
            (Self::Mmio(at, size, write), Self::Mmio(a, s, w)) => (at, size, write) == (&a, &s, &w),
            (Self::Msr(index, write), Self::Msr(i, w)) => (index, write) == (&i, &w),
            _ => false,
        }
    }

    /// Whether the answer was the host's to give, rather than a matter of what the guest does.
    pub(crate) const fn by_host(&self) -> bool {
        match self {
            Self::In { by_host, .. } | Self::Out { by_host, .. } => *by_host,
            Self::Call { .. } | Self::Mmio(..) | Self::Msr(..) => true,
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
    Words(#[serde(deserialize_with = "at_most::<_, _, WORDS_MAX>")] Vec<u64>),
    /// What is read of a model-specific register, or was written; or a general protection fault.
    Msr(Option<u64>),
}

impl Gave {
    pub(crate) fn new(given: &Given) -> Self {
        match given {
            Given::Nothing => Self::Nothing,
            Given::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Given::Words(words) => Self::Words(words.clone()),
            Given::Msr(value) => Self::Msr(*value),
        }
    }

    pub(crate) fn given(self) -> Given {
        match self {
            Self::Nothing => Given::Nothing,
            Self::Bytes(bytes) => Given::Bytes(bytes),
            Self::Words(words) => Given::Words(words),
            Self::Msr(value) => Given::Msr(value),
        }
    }
}
