//! Explains what happened to a guest: over the core's `End`, registers and memory.
//!
//! [`explain`] turns the end of a run into words, a place in the source, a disassembled
//! instruction and a backtrace; [`core`] writes a core file for gdb; [`trace`] keeps what a run did,
//! exit by exit. Everything read here is
//! hostile: the guest's memory, its page tables, and the debug information in its image. Walks
//! are bounded, and what cannot be known is left out or said.

pub mod breakpoints;
pub mod core;
#[cfg(feature = "coverage")]
pub mod coverage;
mod disasm;
pub mod drive;
mod dwarf;
mod explain;
#[cfg(feature = "gdb")]
pub mod gdb;
mod kind;
mod mappings;
#[cfg(feature = "profile")]
pub mod profile;
mod refusal;
mod render;
mod space;
mod symbols;
pub mod trace;
mod unforeseen;
mod unwind;
mod words;

pub use explain::{Explanation, explain};
pub use kind::KvmKind;
pub use render::{Style, printable};
pub use symbols::{DebugInfo, Frame, Source, Symbols};
pub use unwind::{WalkEnd, backtrace};
