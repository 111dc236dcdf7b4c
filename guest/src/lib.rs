//! The runtime that Portcall guests are written against.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use guest::{Boot, println};
//!
//! guest::entry!(main);
//!
//! fn main(boot: &Boot) {
//!     println!("Hello, {} bytes of heap!", boot.heap().size());
//! }
//! ```
//!
//! `cargo xtask run NAME` builds and runs such a program. All of it stands on the contract in
//! the `abi` crate; a guest in another language needs none of it.
//!
//! On a host target the crate links `std` in place of its own panic handler and allocator, so
//! that `cargo check` and editors see guest programs without an error. It does nothing there.

#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(not(target_os = "none"), expect(dead_code, reason = "only a guest has a start"))]

mod boot;
mod call;
pub mod console;
mod exit;
#[cfg(target_os = "none")]
mod heap;
pub mod input;
#[doc(hidden)]
pub mod log;
mod measure;
mod memcpy;
#[cfg(target_os = "none")]
mod panic;
pub mod port;
mod ready;
#[doc(hidden)]
pub mod rt;
#[doc(hidden)]
pub mod serve;
mod span;
pub mod tests;
mod text;

pub use abi;
pub use boot::Boot;
pub use call::{Out, OutWithSpace};
pub use exit::{Exit, Termination, exit};
pub use macros::{fuzz, test};
pub use measure::{absent, measure, measure_batches};
pub use ready::ready;
pub use span::Span;

/// An address or size of the contract's as Rust has it.
#[expect(clippy::cast_possible_truncation, reason = "guests are 64-bit")]
const fn to_usize(value: u64) -> usize {
    value as usize
}
