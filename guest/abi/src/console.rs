//! The console window: text in guest memory that costs no exit. The [contract](crate) has its
//! layout.

/// Bytes of text the window holds.
pub const CAPACITY: u64 = 64 * 1024;

/// Bytes before the text.
pub const HEADER: u64 = 64;

/// Offset of the write index, a little-endian `u64`.
pub const WRITE_INDEX: u64 = 0;

/// Offset of the read index, a little-endian `u64`.
pub const READ_INDEX: u64 = 8;
