//! What may be an argument or a result, and how it becomes words.

use super::{Kind, Malformed, Memory, Reader, Refusal, Space, Transport, Writer};
use core::convert::identity;

/// A value of a fixed number of words: integers, `bool`, arrays of these, and structs that
/// [`record!`](crate::record) made.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a part of a hypercall's value",
    label = "cannot cross",
    note = "parts are integers, bool, and arrays and structs (abi::record!) of these"
)]
pub trait Fixed: Copy {
    /// Its kind, which tells its words.
    const KIND: Kind;

    /// Writes its words.
    fn store(self, to: &mut Writer<'_>);

    /// Reads its words.
    ///
    /// # Errors
    /// One is no value of its type.
    fn load(from: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// The error that a refusal is to a caller, for types that are there to say so: a
    /// [`Refusal`] alone.
    #[must_use]
    fn of_refusal(refusal: Refusal) -> Option<Self> {
        let _ = refusal;
        None
    }
}

/// An argument of a hypercall.
///
/// Whoever implements it by hand decides what memory the other side reads and writes: an address
/// among the words has to come of [`Transport::lend`] or [`Transport::lend_mut`], for bytes that
/// last as long as the call. Integers, structs and bytes need no such thing, nor does any serde
/// type.
///
/// A client [`send`](Self::send)s it; a server
/// [`hold`](Self::hold)s what came, [`lend`](Self::lend)s it to the one who answers, and
/// [`release`](Self::release)s it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a hypercall",
    label = "cannot cross",
    note = "arguments are integers, bool, &str, &[u8], &mut [u8], arrays and structs (abi::record!) \
            of integers and bool, and Option and Result of all these; Encoded<T> for any serde type"
)]
pub trait Argument<'a>: Sized {
    /// Its kind.
    const KIND: Kind;

    /// What a server holds of it while the call lasts.
    type Held<M: Memory>;

    /// Client: puts it where the other side finds it, and writes its words.
    fn send<T: Transport>(&mut self, transport: &mut T, to: &mut Writer<'_>);

    /// Client: the call is over, so what the other side has filled is taken back.
    #[inline(always)]
    fn sent<T: Transport>(self, transport: &mut T) {
        let _ = transport;
    }

    /// Server: reads its words, and copies once what they lead to.
    ///
    /// # Errors
    /// It is not what it says it is.
    fn hold<M: Memory>(from: &mut Reader<'_>, memory: &mut M) -> Result<Self::Held<M>, Malformed>;

    /// Server: the argument itself.
    fn lend<M: Memory>(held: &'a mut Self::Held<M>) -> Self;

    /// Server: the call is answered, so what was filled is given back.
    ///
    /// # Errors
    /// The caller may not write there any more.
    #[inline(always)]
    fn release<M: Memory>(held: Self::Held<M>, memory: &mut M) -> Result<(), Malformed> {
        let _ = (held, memory);
        Ok(())
    }
}

/// A result of a hypercall.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a hypercall",
    label = "cannot cross",
    note = "results are (), integers, bool, &str, &[u8], arrays and structs (abi::record!) of \
            integers and bool, and Option and Result of all these; Encoded<T> for any serde type"
)]
pub trait Returned<'r>: Sized {
    /// Its kind.
    const KIND: Kind;

    /// Server: writes its words; bytes go to the caller's `space`.
    ///
    /// # Errors
    /// They do not fit there.
    fn give<M: Memory>(
        self,
        memory: &mut M,
        space: (u64, u64),
        to: &mut Writer<'_>,
    ) -> Result<(), Malformed>;

    /// Client: reads its words, and finds its bytes.
    ///
    /// # Errors
    /// It is not what it says it is.
    fn take<S: Space<'r>>(from: &mut Reader<'_>, space: &mut S) -> Result<Self, Malformed>;

    /// What a caller gets whose call is refused, if the definition has something for that: the
    /// `Err` of a `Result<T, Refusal>`.
    #[must_use]
    fn refused(refusal: Refusal) -> Option<Self> {
        let _ = refusal;
        None
    }

    /// The same for the error of a `Result`.
    #[must_use]
    fn of_refusal(refusal: Refusal) -> Option<Self> {
        let _ = refusal;
        None
    }
}

/// The kind of a `T`, which says nothing of bytes: its words are no addresses.
const fn fixed<T: Fixed>() -> Kind {
    assert!(!T::KIND.has_bytes(), "a value of a fixed number of words leads to no bytes");
    T::KIND
}

#[diagnostic::do_not_recommend]
impl<T: Fixed> Argument<'_> for T {
    const KIND: Kind = fixed::<T>();
    type Held<M: Memory> = T;

    #[inline(always)]
    fn send<C: Transport>(&mut self, _: &mut C, to: &mut Writer<'_>) {
        self.store(to);
    }

    #[inline(always)]
    fn hold<M: Memory>(from: &mut Reader<'_>, _: &mut M) -> Result<T, Malformed> {
        T::load(from)
    }

    #[inline(always)]
    fn lend<M: Memory>(held: &mut T) -> Self {
        *held
    }
}

#[diagnostic::do_not_recommend]
impl<'r, T: Fixed> Returned<'r> for T {
    const KIND: Kind = fixed::<T>();

    #[inline(always)]
    fn give<M: Memory>(
        self,
        _: &mut M,
        _: (u64, u64),
        to: &mut Writer<'_>,
    ) -> Result<(), Malformed> {
        self.store(to);
        Ok(())
    }

    #[inline(always)]
    fn take<S: Space<'r>>(from: &mut Reader<'_>, _: &mut S) -> Result<Self, Malformed> {
        T::load(from)
    }

    fn of_refusal(refusal: Refusal) -> Option<Self> {
        T::of_refusal(refusal)
    }
}

impl Fixed for () {
    const KIND: Kind = Kind::Unit;

    #[inline(always)]
    fn store(self, _: &mut Writer<'_>) {}

    #[inline(always)]
    fn load(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl Fixed for bool {
    const KIND: Kind = Kind::Bool;

    #[inline(always)]
    fn store(self, to: &mut Writer<'_>) {
        to.put(u64::from(self));
    }

    #[inline(always)]
    fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        tag(from)
    }
}

/// A word that says which of two it is.
#[inline(always)]
pub(super) fn tag(from: &mut Reader<'_>) -> Result<bool, Malformed> {
    match from.take() {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Malformed::value(other)),
    }
}

macro_rules! integers {
    ($kind:ident, $wide:ident, $to_word:path, $of_word:path: $($integer:ident)*) => {$(
        impl Fixed for $integer {
            const KIND: Kind = Kind::$kind($integer::BITS);

            #[inline(always)]
            fn store(self, to: &mut Writer<'_>) {
                to.put($to_word($wide::from(self)));
            }

            #[inline(always)]
            fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let word = from.take();
                Self::try_from($of_word(word)).map_err(|_| Malformed::value(word))
            }
        }
    )*};
}
integers!(Unsigned, u64, identity, identity: u8 u16 u32 u64);
integers!(Signed, i64, i64::cast_unsigned, u64::cast_signed: i8 i16 i32 i64);

impl<T: Fixed + Default, const N: usize> Fixed for [T; N] {
    const KIND: Kind = Kind::Array(&T::KIND, N);

    #[inline(always)]
    fn store(self, to: &mut Writer<'_>) {
        for element in self {
            element.store(to);
        }
    }

    #[inline(always)]
    fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut array = [T::default(); N];
        for element in &mut array {
            *element = T::load(from)?;
        }
        Ok(array)
    }
}
