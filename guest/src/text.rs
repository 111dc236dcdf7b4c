//! Formatting without an allocation.

use core::fmt;

/// A text of at most `N` bytes, cut at its end, on a character's boundary, rather than lost.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], used: 0 }
    }

    pub(crate) fn as_str(&self) -> &str {
        // SAFETY: `write_str` alone writes there, and whole characters of a `&str` only.
        unsafe { core::str::from_utf8_unchecked(&self.bytes[..self.used]) }
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.floor_char_boundary(self.bytes.len() - self.used);
        self.bytes[self.used..self.used + room].copy_from_slice(&text.as_bytes()[..room]);
        self.used += room;
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
