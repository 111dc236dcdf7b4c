//! Typed hypercalls: both sides of an interface from one definition.
//!
//! [`hypercalls!`](crate::hypercalls) makes of a trait's text the trait itself, a `Client` that
//! calls it through a [`Transport`], a `Server` that answers for anything that implements it, and
//! the table [`INTERFACE`](Interface), from which the ELF note, the comparison at load, the names
//! in traces and the input of fuzzers are made.
//!
//! A value crosses as a fixed number of words ([`Kind`] says of what kind); bytes stay in the
//! caller's memory and cross as an address and a size, two claims that the other side checks and
//! copies once. The [contract](crate#typed-hypercalls) says where the words lie.

mod bytes;
mod choice;
mod define;
mod kind;
mod refusal;
mod text;
mod value;
mod words;

use core::marker::PhantomData;

pub use kind::{Interface, Kind, METHODS_MAX, Method, Struct, id_of, interface_of, method_of};
pub use refusal::{Malformed, Refusal};
pub use text::note;
#[doc(hidden)]
pub use text::too_many_words;
pub use value::{Argument, Fixed, Returned};
pub use words::{Reader, Writer};

/// The most words that the arguments of a call take, and the most of its result.
pub const WORDS_MAX: usize = 12;

/// The most bytes of one buffer: what the host is willing to copy for a call.
pub const BUFFER_MAX: u64 = 16 << 20;

/// A call on its way: what a [`Transport`] carries. It is of the transport that has lent the bytes
/// that its words lead to, so that no other can be given it.
#[derive(Debug)]
pub struct Request<const ARGUMENTS: usize, T> {
    interface: &'static Interface,
    number: u32,
    words: [u64; ARGUMENTS],
    lender: PhantomData<fn(T)>,
}

impl<const ARGUMENTS: usize, T: Transport> Request<ARGUMENTS, T> {
    /// For the macro alone, which sees to it that number and words belong together: a transport
    /// trusts the addresses among them.
    #[doc(hidden)]
    #[inline(always)]
    pub const fn new(interface: &'static Interface, number: u32, words: [u64; ARGUMENTS]) -> Self {
        Self { interface, number, words, lender: PhantomData }
    }

    /// The interface it is of.
    #[inline(always)]
    #[must_use]
    pub const fn interface(&self) -> &'static Interface {
        self.interface
    }

    /// The call's number, of interface and method ([`Interface::number`]).
    #[inline(always)]
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Its arguments.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> &[u64; ARGUMENTS] {
        &self.words
    }
}

/// How a client reaches the other side. A host's lends bytes to the guest and may fail; a
/// guest's is one instruction.
pub trait Transport {
    /// What a call gives that is to give an `R`.
    type Reply<R>;

    /// Whether there is [`space`](Self::space) for results of bytes.
    const HAS_SPACE: bool;

    /// Puts bytes where the other side can read them while the call lasts, and says where.
    fn lend(&mut self, bytes: &[u8]) -> u64;

    /// The same for bytes that the other side may change.
    fn lend_mut(&mut self, bytes: &mut [u8]) -> u64;

    /// Takes back, after the call, the bytes of the first [`lend_mut`](Self::lend_mut) that was
    /// not taken back yet.
    fn take_back(&mut self, bytes: &mut [u8]);

    /// Where the other side puts a result of bytes: an address, and how many bytes fit.
    fn space(&mut self) -> (u64, u64);

    /// Makes the call and gives the result's words.
    fn call<const A: usize, const R: usize>(&mut self, request: Request<A, Self>) -> [u64; R]
    where
        Self: Sized;

    /// Makes the result of its words.
    fn reply<'r, R: Returned<'r>>(&'r mut self, words: &[u64]) -> Self::Reply<R>;
}

/// Where a result of bytes is found once it is there.
pub trait Space<'r> {
    /// `size` bytes at `address`, two claims of the other side's.
    ///
    /// # Errors
    /// They are not where results belong.
    fn bytes(&mut self, address: u64, size: u64) -> Result<&'r [u8], Malformed>;

    /// The same for text.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes), or they are not UTF-8.
    fn text(&mut self, address: u64, size: u64) -> Result<&'r str, Malformed> {
        let bytes = self.bytes(address, size)?;
        core::str::from_utf8(bytes).map_err(|_| Malformed::text(address, size))
    }
}

/// What a server sees of its caller's memory. Addresses and sizes are the caller's claims.
pub trait Memory {
    /// Bytes of the caller's, safe from what it does to its memory meanwhile.
    type Bytes: AsRef<[u8]> + AsMut<[u8]>;
    /// The same, known to be UTF-8.
    type Text: AsRef<str>;

    /// Bytes that the caller may read itself.
    ///
    /// # Errors
    /// It may not, or they are too many.
    fn read(&mut self, address: u64, size: u64) -> Result<Self::Bytes, Malformed>;

    /// Text that the caller may read itself.
    ///
    /// # Errors
    /// As for [`read`](Self::read), or it is not UTF-8.
    fn text(&mut self, address: u64, size: u64) -> Result<Self::Text, Malformed>;

    /// Bytes that the caller may write itself, as they are now.
    ///
    /// # Errors
    /// It may not, or they are too many.
    fn borrow(&mut self, address: u64, size: u64) -> Result<Self::Bytes, Malformed>;

    /// Gives borrowed bytes back.
    ///
    /// # Errors
    /// The caller may not write there any more.
    fn give_back(&mut self, address: u64, bytes: Self::Bytes) -> Result<(), Malformed>;

    /// Puts a result of bytes where the caller finds it, in the space it has for that, and says
    /// where. The bytes stay what they are until the caller has seen them.
    ///
    /// # Errors
    /// It does not fit.
    fn give(&mut self, bytes: &[u8], space: (u64, u64)) -> Result<u64, Malformed>;

    /// The same for bytes that are gone when this is over.
    ///
    /// # Errors
    /// They do not fit.
    fn give_copy(&mut self, bytes: &[u8], space: (u64, u64)) -> Result<u64, Malformed> {
        self.give(bytes, space)
    }
}

/// Answers the calls of one interface: what [`hypercalls!`](crate::hypercalls) makes of
/// `Server`.
pub trait Serve {
    /// The interface.
    const INTERFACE: &'static Interface;

    /// Answers one call: takes its arguments from `words`, puts the result there, and says how
    /// many words that has.
    ///
    /// # Errors
    /// The call is not one of the interface's, or an argument is not what it says it is, and the
    /// definition has no way to tell the caller.
    fn serve<M: Memory>(
        &mut self,
        method: u32,
        words: &mut [u64; WORDS_MAX],
        memory: &mut M,
    ) -> Result<usize, Malformed>;
}

/// The answer to a call that is refused: an error to the caller where its definition has one.
///
/// # Errors
/// It has none.
#[doc(hidden)]
pub fn refuse<'r, R: Returned<'r>, M: Memory>(
    malformed: Malformed,
    words: &mut [u64; WORDS_MAX],
    memory: &mut M,
) -> Result<usize, Malformed> {
    let result = R::refused(malformed.refusal).ok_or(malformed)?;
    result.give(memory, (0, 0), &mut Writer::new(&mut words[..]))?;
    Ok(R::KIND.words())
}
