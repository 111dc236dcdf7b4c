#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

pub mod boot;
pub mod console;
pub mod note;
pub mod port;

/// The version of this contract. A guest states the one it was built against in its
/// [`note`]; a host loads no other.
pub const VERSION: u32 = 1;
