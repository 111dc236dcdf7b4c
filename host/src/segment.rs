//! A piece of an image in memory, and what it may be used for.

use crate::layout::{Gpa, Gva};
use std::fmt;
use std::ops::Range;

/// What a page may be used for besides reading (ELF p_flags).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Permissions {
    /// PF_W.
    pub write: bool,
    /// PF_X.
    pub execute: bool,
}

impl Permissions {
    /// Read and write, no execute.
    pub const DATA: Self = Self { write: true, execute: false };
    /// Read and execute.
    pub const CODE: Self = Self { write: false, execute: true };
    /// Read only.
    pub const READ: Self = Self { write: false, execute: false };

    /// What two segments that share a page both need.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { write: self.write || other.write, execute: self.execute || other.execute }
    }
}

/// As `ls -l` has them: `rwx`, with `-` for what is not allowed.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |allowed, name| if allowed { name } else { "-" };
        write!(f, "r{}{}", or(self.write, "w"), or(self.execute, "x"))
    }
}

/// A PT_LOAD segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where the guest sees it (p_vaddr, moved for a position-independent image).
    pub gva: Gva,
    /// Where it lies in memory (p_paddr; for a position-independent image the same as `gva`).
    pub gpa: Gpa,
    /// Its bytes in memory (p_memsz), more than 0; what the file does not give is zero.
    pub size: u64,
    /// Its bytes in the file.
    pub file: Range<usize>,
    /// What its pages may be used for.
    pub permissions: Permissions,
}

impl Segment {
    /// The guest-virtual addresses it covers.
    #[must_use]
    pub const fn virtual_range(&self) -> Range<u64> {
        // Checked at construction: neither end wraps.
        self.gva.0..self.gva.0 + self.size
    }

    /// The guest-physical addresses it covers.
    #[must_use]
    pub const fn physical_range(&self) -> Range<u64> {
        self.gpa.0..self.gpa.0 + self.size
    }
}
