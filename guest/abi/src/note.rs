//! The ELF note by which an image says that it keeps this contract.
//!
//! An image without the note runs as well: it is then taken to need nothing but ports. The
//! note's form is that of the ELF specification ("Note Section"): three 32-bit words
//! (name size, descriptor size, type), the name, the descriptor, each padded to 4 bytes.

/// The section the note stands in.
pub const SECTION: &str = ".note.portcall";

/// The note's name, with its terminating NUL.
pub const NAME: &[u8; 9] = b"Portcall\0";

/// The note's type: the descriptor is the contract's version, one little-endian `u32`.
pub const TYPE_VERSION: u32 = 1;

/// Bytes of the whole note.
pub const SIZE: usize = 12 + 12 + 4;

/// The note of an image built against [`VERSION`](crate::VERSION).
#[must_use]
pub const fn to_bytes() -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let words = [(0, 9), (4, 4), (8, TYPE_VERSION), (24, crate::VERSION)];
    let mut i = 0;
    while i < words.len() {
        let (at, word) = words[i];
        let le = u32::to_le_bytes(word);
        let mut k = 0;
        while k < 4 {
            bytes[at + k] = le[k];
            k += 1;
        }
        i += 1;
    }
    let mut i = 0;
    while i < NAME.len() {
        bytes[12 + i] = NAME[i];
        i += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{SIZE, to_bytes};

    #[test]
    fn the_note_has_the_form_of_the_elf_specification() {
        let expected: [u8; SIZE] = *b"\x09\0\0\0\x04\0\0\0\x01\0\0\0Portcall\0\0\0\0\x01\0\0\0";
        assert_eq!(to_bytes(), expected);
    }
}
