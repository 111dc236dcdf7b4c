//! Guests that try one way out, or one way to wedge their host, each: see `examples`. Every one
//! ends with a named end, in its deadline.
//!
//! What several of them need is here.

#![no_std]

pub mod modes;
mod never;
pub mod own_idt;
pub mod own_tables;

pub use never::Never;
