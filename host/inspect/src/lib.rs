//! Explains what happened to a guest: over the core's `End`, registers and memory.

pub mod core;
