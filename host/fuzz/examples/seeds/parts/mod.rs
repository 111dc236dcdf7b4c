//! Seeds, by target.

pub(crate) mod calls;
pub(crate) mod dwarf;
pub(crate) mod elf;
pub(crate) mod exits;
pub(crate) mod logs;
pub(crate) mod snapshots;

/// A seed's name and its bytes.
pub(crate) type Seed = (String, Vec<u8>);
