//! The console window: text in guest memory that costs no exit.
//!
//! The host places one window a vCPU and tells its address in the
//! [boot information](crate::boot). It is a header of [`HEADER`] bytes and [`CAPACITY`]
//! bytes of text:
//!
//! | offset | bytes | written by | meaning |
//! | --- | --- | --- | --- |
//! | 0 | 8 | guest | write index: bytes ever printed |
//! | 8 | 8 | host | read index: bytes ever taken |
//! | 16 | 48 | nobody | reserved, zero |
//! | 64 | [`CAPACITY`] | guest | byte number `i` stands at `64 + i % CAPACITY` |
//!
//! The guest stores its bytes, then the write index, so an index never covers bytes that are
//! not there: text printed before any death appears. Both indices run freely and are never
//! reset. When `write - read` is [`CAPACITY`] the window is full; a write to
//! [`FLUSH`](crate::port::FLUSH) empties it. A guest that never looks at the read index loses
//! its oldest text, not its newest. There is no lock: a panic inside `print!` can print.
//!
//! The write index is an untrusted claim to the host: one that runs ahead of the read index
//! by more than the window holds has lost bytes, which the host counts and says.

/// Bytes of text the window holds.
pub const CAPACITY: u64 = 64 * 1024;

/// Bytes before the text.
pub const HEADER: u64 = 64;

/// Offset of the write index, a little-endian `u64`.
pub const WRITE_INDEX: u64 = 0;

/// Offset of the read index, a little-endian `u64`.
pub const READ_INDEX: u64 = 8;
