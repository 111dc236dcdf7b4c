#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

// For the macros, which name this crate, in its own tests.
extern crate self as abi;

pub mod boot;
pub mod calls;
pub mod console;
pub mod host;
pub mod host_address;
pub mod lab;
pub mod mailbox;
pub mod note;
pub mod port;
pub mod span;
pub mod tests;

/// The version of this contract. A guest states the one it was built against in its
/// [`note`]; a host loads no other.
pub const VERSION: u32 = 1;
