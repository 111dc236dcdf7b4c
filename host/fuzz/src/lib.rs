//! What Portcall's fuzzers run: each target is a function of bytes that must not panic, take more
//! memory than its input is worth, or go on for ever, whatever the bytes.
//!
//! cargo-fuzz makes the bytes (fuzz/, `cargo xtask fuzz`); a test here gives every seed and every
//! input that once found something to the same functions, on stable.

pub mod calls;
pub mod dwarf;
pub mod elf;
pub mod exits;
pub mod file;
pub mod logs;
pub mod services;
pub mod snapshots;

mod frames;
mod input;
mod machine;

/// A target's name, as cargo-fuzz has it, and the target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("calls", calls::target),
    ("dwarf", dwarf::target),
    ("elf", elf::target),
    ("exits", exits::target),
    ("logs", logs::target),
    ("snapshots", snapshots::target),
];
