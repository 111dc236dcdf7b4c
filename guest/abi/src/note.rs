//! The ELF notes by which an image says that it keeps this contract, which interfaces it calls,
//! and which it answers.
//!
//! An image without them runs as well: it is then taken to need nothing but ports. Their form is
//! that of the ELF specification ("Note Section"): three 32-bit words (name size, descriptor
//! size, type), the name, the descriptor, each padded to 4 bytes.

/// The section the notes stand in.
pub const SECTION: &str = ".note.portcall";

/// The notes' name, with its terminating NUL.
pub const NAME: &[u8; 9] = b"Portcall\0";

/// The descriptor is the contract's version, one little-endian `u32`.
pub const TYPE_VERSION: u32 = 1;

/// The descriptor is an interface that the image calls, as text:
/// [its name and its calls](crate::calls::note), each ended by a NUL.
pub const TYPE_CALLS: u32 = 2;

/// The same, for an interface that the image answers.
pub const TYPE_SERVES: u32 = 3;

/// The descriptor is a function that the host may call: [its address, and what it is](crate::tests).
pub const TYPE_ENTRY: u32 = 4;

/// Bytes before the descriptor.
pub const HEAD: usize = 12 + NAME.len().next_multiple_of(4);

/// Bytes of a whole note with a descriptor of `descriptor` bytes.
#[must_use]
pub const fn size(descriptor: usize) -> usize {
    HEAD + descriptor.next_multiple_of(4)
}

/// What stands before a descriptor of `descriptor` bytes, of a note of this type.
#[must_use]
pub const fn head(kind: u32, descriptor: usize) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    #[expect(clippy::cast_possible_truncation, reason = "a descriptor has some thousand bytes")]
    let words = [NAME.len() as u32, descriptor as u32, kind];
    let mut i = 0;
    while i < 12 {
        bytes[i] = words[i / 4].to_le_bytes()[i % 4];
        i += 1;
    }
    copy(NAME, &mut bytes, 12);
    bytes
}

/// A note of this type; `N` is its [`size`].
#[must_use]
pub const fn to_bytes<const N: usize>(kind: u32, descriptor: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    copy(&head(kind, descriptor.len()), &mut bytes, 0);
    copy(descriptor, &mut bytes, HEAD);
    bytes
}

const fn copy(from: &[u8], to: &mut [u8], at: usize) {
    let mut i = 0;
    while i < from.len() {
        to[at + i] = from[i];
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{TYPE_CALLS, TYPE_VERSION, size, to_bytes};

    #[test]
    fn a_note_has_the_form_of_the_elf_specification() {
        assert_eq!(
            to_bytes::<{ size(4) }>(TYPE_VERSION, &crate::VERSION.to_le_bytes()),
            *b"\x09\0\0\0\x04\0\0\0\x01\0\0\0Portcall\0\0\0\0\x01\0\0\0"
        );
        assert_eq!(
            to_bytes::<{ size(5) }>(TYPE_CALLS, b"Name\0"),
            *b"\x09\0\0\0\x05\0\0\0\x02\0\0\0Portcall\0\0\0\0Name\0\0\0\0"
        );
    }
}
