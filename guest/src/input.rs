//! The host's input (`portcall run`'s stdin), a byte an exit.

use abi::port::{END_OF_INPUT, INPUT};

/// The next byte, or `None` at the end of the input. Waits in the host until there is one.
#[must_use]
pub fn read_byte() -> Option<u8> {
    match crate::port::read_u32(INPUT) {
        END_OF_INPUT => None,
        byte => Some(byte.to_le_bytes()[0]),
    }
}

/// All bytes up to the end of the input.
pub fn bytes() -> impl Iterator<Item = u8> {
    core::iter::from_fn(read_byte)
}
