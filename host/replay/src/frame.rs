//! The outer form of a log: that of [`frame`], with these bounds.

use abi::calls::BUFFER_MAX;
use frame::Format;

pub(crate) use frame::{FrameReader, FrameWriter, Next};

/// How a log begins.
pub(crate) const LOG: Format = Format { magic: *b"\x89PCLOG\r\n", version: 3, oldest: 3 };

/// The most that a frame may have: an image; what a machine is made of; and an entry, whose answer
/// may be the largest buffer that a call can have.
pub(crate) const IMAGE_MAX: u64 = 1 << 30;
pub(crate) const MACHINE_MAX: u64 = 4 << 20;
pub(crate) const ENTRY_MAX: u64 = BUFFER_MAX + (4 << 20);
