//! Any serde type as an argument or a result of a hypercall.
//!
//! It crosses as bytes, in postcard's encoding, which each side makes and reads: for lists and
//! maps, and where speed does not matter. The contract itself knows nothing of it, and does not
//! compare the type: what cannot be decoded is refused.
//!
//! **Not for a type that contains itself** (a tree by `Box`, a list of lists of itself): the guest
//! decides how deep it is, and serde recurses as deep, until the host's stack ends and its process
//! with it. How long a list of `()` claims to be is the guest's word alone as well.
//!
//! ```
//! use encoded::Encoded;
//!
//! abi::hypercalls! {
//!     /// Shopping.
//!     pub trait Basket {
//!         /// What a list costs, item by item.
//!         fn prices(&mut self, items: Encoded<Vec<String>>) -> Encoded<Vec<u32>>;
//!     }
//! }
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::calls::{Argument, Kind, Malformed, Memory, Reader, Returned, Space, Transport, Writer};
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that crosses encoded.
#[derive(Clone, Debug, Default)]
pub struct Encoded<T> {
    value: T,
    /// The encoding, while a call lasts.
    bytes: Vec<u8>,
}

impl<T> Encoded<T> {
    /// A value to be sent.
    pub const fn new(value: T) -> Self {
        Self { value, bytes: Vec::new() }
    }

    /// The value that came.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> From<T> for Encoded<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> Deref for Encoded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Encoded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: PartialEq> PartialEq for Encoded<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Encoded<T> {}

const KIND: Kind = Kind::Encoded("Encoded");

/// A value's bytes. A type whose own `Serialize` fails is a mistake of the program's.
#[expect(clippy::panic, reason = "there is nothing to send, and no one to tell but the author")]
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    match postcard::to_allocvec(value) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{} cannot be encoded: {error}", core::any::type_name::<T>()),
    }
}

/// The value that bytes are, all of them.
fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    (address, size): (u64, u64),
) -> Result<Encoded<T>, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(Encoded::new(value)),
        _ => Err(Malformed { size, ..Malformed::value(address) }),
    }
}

impl<T: Serialize + DeserializeOwned> Argument<'_> for Encoded<T> {
    const KIND: Kind = KIND;
    type Held<M: Memory> = Option<Self>;

    fn send<C: Transport>(&mut self, transport: &mut C, to: &mut Writer<'_>) {
        self.bytes = encode(&self.value);
        to.put(transport.lend(&self.bytes));
        to.put(self.bytes.len() as u64);
    }

    fn hold<M: Memory>(from: &mut Reader<'_>, memory: &mut M) -> Result<Option<Self>, Malformed> {
        let (address, size) = (from.take(), from.take());
        let bytes = memory.read(address, size)?;
        decode(bytes.as_ref(), (address, size)).map(Some)
    }

    fn lend<M: Memory>(held: &mut Option<Self>) -> Self {
        held.take().expect("it is lent once, as `hypercalls!` does")
    }
}

impl<'r, T: Serialize + DeserializeOwned> Returned<'r> for Encoded<T> {
    const KIND: Kind = KIND;

    fn give<M: Memory>(
        self,
        memory: &mut M,
        space: (u64, u64),
        to: &mut Writer<'_>,
    ) -> Result<(), Malformed> {
        let bytes = encode(&self.value);
        to.put(memory.give_copy(&bytes, space)?);
        to.put(bytes.len() as u64);
        Ok(())
    }

    fn take<S: Space<'r>>(from: &mut Reader<'_>, space: &mut S) -> Result<Self, Malformed> {
        let (address, size) = (from.take(), from.take());
        decode(space.bytes(address, size)?, (address, size))
    }
}
