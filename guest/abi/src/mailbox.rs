//! The mailbox: through it the host calls functions of the guest. The [contract](crate) has its
//! layout.

/// Bytes of the mailbox, where an image has one.
pub const SIZE: u64 = 64 * 1024;

/// Offset of the call's number, a little-endian `u64`.
pub const NUMBER: u64 = 0;

/// Offset of the words: the arguments', and in their place the result's.
pub const WORDS: u64 = 8;

/// Offset of the bytes that arguments lead to, by their offset in the mailbox. A result's bytes lie
/// in the guest's own memory, by their guest-virtual address.
pub const BYTES: u64 = 128;

/// What [`SERVE`](crate::port::SERVE) is written with when the guest has nothing to answer yet, or
/// has answered. Any other value is the number of a [`Refusal`](crate::calls::Refusal).
pub const ANSWERED: u32 = 0;
