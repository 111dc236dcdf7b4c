//! The table of an interface: its calls, and of what kind their arguments and results are.

use super::WORDS_MAX;

/// An interface: the table that [`hypercalls!`](crate::hypercalls) makes of a trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The trait's name.
    pub name: &'static str,
    /// Its calls, in the order of the trait.
    pub methods: &'static [Method],
}

/// A call of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The function's name.
    pub name: &'static str,
    /// The arguments' names and kinds.
    pub arguments: &'static [(&'static str, Kind)],
    /// The result's kind.
    pub result: Kind,
}

/// A struct that crosses field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struct {
    /// Its name.
    pub name: &'static str,
    /// Its fields' names and kinds.
    pub fields: &'static [(&'static str, Kind)],
}

/// What an argument or a result is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `()`: no word.
    Unit,
    /// `bool`: a word, 0 or 1.
    Bool,
    /// An unsigned integer of this many bits: a word.
    Unsigned(u32),
    /// A signed integer of this many bits: a word, with its sign extended.
    Signed(u32),
    /// `&str`: address and bytes.
    Text,
    /// `&[u8]`: address and bytes.
    Bytes,
    /// `&mut [u8]`: address and bytes, which the other side fills.
    BytesMut,
    /// `[T; N]`: its elements' words.
    Array(&'static Kind, usize),
    /// A struct: its fields' words.
    Struct(&'static Struct),
    /// `Option<T>`: a word, 0 or 1 for `Some`, then the words of a `T`.
    Option(&'static Kind),
    /// `Result<T, E>`: a word, 0 or 1 for `Err`, then the words of a `T` or an `E`; as many as
    /// the longer has.
    Result(&'static Kind, &'static Kind),
    /// A [`Refusal`](super::Refusal): a word, its number.
    Refusal,
    /// Any other type in an encoding of its own: address and bytes.
    Encoded(&'static str),
}

impl Kind {
    /// How many words it takes.
    #[must_use]
    pub const fn words(&self) -> usize {
        match self {
            Self::Unit => 0,
            Self::Bool | Self::Unsigned(_) | Self::Signed(_) | Self::Refusal => 1,
            Self::Text | Self::Bytes | Self::BytesMut | Self::Encoded(_) => 2,
            Self::Array(element, count) => element.words() * *count,
            Self::Struct(this) => words_of(this.fields),
            Self::Option(some) => 1 + some.words(),
            Self::Result(ok, err) => {
                let (ok, err) = (ok.words(), err.words());
                1 + if ok > err { ok } else { err }
            }
        }
    }

    /// Whether it has bytes in memory, rather than words alone.
    #[must_use]
    pub const fn has_bytes(&self) -> bool {
        match self {
            Self::Text | Self::Bytes | Self::BytesMut | Self::Encoded(_) => true,
            Self::Option(one) | Self::Array(one, _) => one.has_bytes(),
            Self::Result(ok, err) => ok.has_bytes() || err.has_bytes(),
            Self::Struct(this) => have_bytes(this.fields),
            _ => false,
        }
    }
}

/// Whether any of a list has bytes in memory.
const fn have_bytes(list: &[(&str, Kind)]) -> bool {
    let mut i = 0;
    while i < list.len() {
        if list[i].1.has_bytes() {
            return true;
        }
        i += 1;
    }
    false
}

/// The words of a list, one behind the other.
const fn words_of(list: &[(&str, Kind)]) -> usize {
    let (mut words, mut i) = (0, 0);
    while i < list.len() {
        words += list[i].1.words();
        i += 1;
    }
    words
}

impl Method {
    /// How many words its arguments take, with the two that say where a result of bytes goes.
    #[must_use]
    pub const fn argument_words(&self) -> usize {
        words_of(self.arguments) + if self.result.has_bytes() { 2 } else { 0 }
    }

    /// Whether arguments and result fit into [`WORDS_MAX`] words each.
    #[must_use]
    pub const fn fits(&self) -> bool {
        self.argument_words() <= WORDS_MAX && self.result.words() <= WORDS_MAX
    }

    /// Whether a caller's memory has to be read or written for it.
    #[must_use]
    pub const fn has_bytes(&self) -> bool {
        have_bytes(self.arguments) || self.result.has_bytes()
    }
}

impl Interface {
    /// The interface's number: [`id_of`] its name.
    #[must_use]
    pub const fn id(&self) -> u32 {
        id_of(self.name)
    }

    /// Whether a caller's memory has to be read or written for any of its calls.
    #[must_use]
    pub const fn has_bytes(&self) -> bool {
        let mut i = 0;
        while i < self.methods.len() {
            if self.methods[i].has_bytes() {
                return true;
            }
            i += 1;
        }
        false
    }

    /// A call's place among the methods, by its name: for the macro, so that it need not count.
    ///
    /// # Panics
    /// There is none of that name.
    #[doc(hidden)]
    #[must_use]
    pub const fn place(&self, name: &str) -> u32 {
        let mut place: u32 = 0;
        while !same(self.methods[place as usize].name, name) {
            place += 1;
        }
        place
    }

    /// The number of a call: the interface's in the high 24 bits, the method's place in the low 8.
    ///
    /// # Panics
    /// The place is beyond the 256 that a number has room for.
    #[must_use]
    pub const fn number(&self, method: u32) -> u32 {
        assert!(method < METHODS_MAX, "an interface has at most 256 calls: divide it into two");
        self.id() << 8 | method
    }
}

/// The most calls that an interface has: a number has 8 bits for them.
pub const METHODS_MAX: u32 = 256;

/// Whether two names are the same, for constants.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// The number of the interface of a name: 24 bits of FNV-1a, so that neither side has to list what
/// it calls in the other's order. Two interfaces of one VM that share a number are refused when it
/// is built.
#[must_use]
pub const fn id_of(name: &str) -> u32 {
    let (mut hash, mut i) = (0x811c_9dc5_u32, 0);
    let name = name.as_bytes();
    while i < name.len() {
        hash = (hash ^ name[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    // Folded rather than cut, as FNV's authors advise.
    (hash >> 24) ^ (hash & 0x00ff_ffff)
}

/// The interface's part of a call's number.
#[must_use]
pub const fn interface_of(number: u32) -> u32 {
    number >> 8
}

/// The method's part of a call's number.
#[must_use]
pub const fn method_of(number: u32) -> u32 {
    number & 0xff
}
