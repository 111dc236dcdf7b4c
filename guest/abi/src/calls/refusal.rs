//! Why a call is not answered.

use super::{BUFFER_MAX, Fixed, Kind, Reader, Writer};
use core::fmt;

/// Why a call is not answered, as a guest may be told: by a definition whose result is a
/// `Result<T, Refusal>`. One word, the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Refusal {
    /// This VM was not given the interface.
    NotServed = 1,
    /// The interface has no such call.
    Unknown = 2,
    /// Bytes that the caller may not read, or not write, itself.
    Pointer = 3,
    /// Text that is not UTF-8.
    Text = 4,
    /// A word that is no value of its type.
    Value = 5,
    /// More bytes than a call may have, or than the result has space for.
    TooLarge = 6,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NotServed, Self::Unknown, Self::Pointer, Self::Text, Self::Value, Self::TooLarge];

    /// The word it crosses as.
    #[must_use]
    pub const fn code(self) -> u64 {
        self as u64
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotServed => "this VM was not given the interface",
            Self::Unknown => "the interface has no such call",
            Self::Pointer => "bytes that the caller may not use itself",
            Self::Text => "text that is not UTF-8",
            Self::Value => "a word that is no value of its type",
            Self::TooLarge => "too many bytes",
        })
    }
}

impl core::error::Error for Refusal {}

impl Fixed for Refusal {
    const KIND: Kind = Kind::Refusal;

    fn store(self, to: &mut Writer<'_>) {
        to.put(self.code());
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let code = from.take();
        let found = Self::ALL.into_iter().find(|refusal| refusal.code() == code);
        found.ok_or(Malformed::value(code))
    }

    fn of_refusal(refusal: Self) -> Option<Self> {
        Some(refusal)
    }
}

/// What is wrong with a call: a refusal with its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The reason.
    pub refusal: Refusal,
    /// The argument it is about; `None` for the result, and for the call as such.
    pub argument: Option<&'static str>,
    /// The address, for [`Refusal::Pointer`]; the word, for [`Refusal::Value`]; the bytes that
    /// there is space for, for [`Refusal::TooLarge`].
    pub word: u64,
    /// Bytes, where bytes are the matter.
    pub size: u64,
}

impl Malformed {
    /// A refusal of the call as such.
    #[must_use]
    pub const fn call(refusal: Refusal) -> Self {
        Self { refusal, argument: None, word: 0, size: 0 }
    }

    /// A word that is no value of its type.
    #[must_use]
    pub const fn value(word: u64) -> Self {
        Self { word, ..Self::call(Refusal::Value) }
    }

    /// Bytes that the caller may not use so itself.
    #[must_use]
    pub const fn pointer(address: u64, size: u64) -> Self {
        Self { word: address, size, ..Self::call(Refusal::Pointer) }
    }

    /// Bytes that are to be text and are not UTF-8.
    #[must_use]
    pub const fn text(address: u64, size: u64) -> Self {
        Self { word: address, size, ..Self::call(Refusal::Text) }
    }

    /// `size` bytes where only `room` are allowed.
    #[must_use]
    pub const fn too_large(size: u64, room: u64) -> Self {
        Self { word: room, size, ..Self::call(Refusal::TooLarge) }
    }

    /// Refuses a buffer that is larger than any may be.
    ///
    /// # Errors
    /// It is.
    pub const fn check_size(size: u64) -> Result<(), Self> {
        if size > BUFFER_MAX { Err(Self::too_large(size, BUFFER_MAX)) } else { Ok(()) }
    }

    /// The same, known to be about an argument.
    #[must_use]
    pub const fn of(self, argument: &'static str) -> Self {
        Self { argument: Some(argument), ..self }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refusal, argument, word, size } = *self;
        if let Some(argument) = argument {
            write!(f, "argument `{argument}`: ")?;
        }
        match refusal {
            Refusal::Pointer => {
                write!(f, "{size} bytes at {word:#x}, which the guest may not use so itself")
            }
            Refusal::Text => write!(f, "{size} bytes at {word:#x} are not UTF-8"),
            Refusal::Value if size > 0 => {
                write!(f, "{size} bytes at {word:#x} are no value of its type")
            }
            Refusal::Value => write!(f, "{word:#x} is no value of its type"),
            Refusal::TooLarge if argument.is_none() => {
                write!(f, "a result of {size} bytes, with space for {word}")
            }
            Refusal::TooLarge => write!(f, "{size} bytes, of which at most {word} are allowed"),
            other => other.fmt(f),
        }
    }
}
