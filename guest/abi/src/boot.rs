//! What the guest is told at its entry: the boot information, at the address in RDI.

/// The first word of the boot information: `PORTCALL` read as a little-endian `u64`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PORTCALL");

/// The most ranges of RAM there are: below the hole at 3 to 4 GiB, and above it.
pub const RAM_RANGES: usize = 2;

/// Addresses from `start` up to and without `end`, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first address.
    pub start: u64,
    /// The first address after the range.
    pub end: u64,
}

impl Range {
    /// Bytes in the range; 0 where it is turned round.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// The boot information. In memory it is [`SIZE`](BootInfo::SIZE) bytes, one little-endian
/// `u64` after the other in the order of these fields, after [`MAGIC`] and the contract's
/// version. All addresses are guest-physical and mapped one to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootInfo {
    /// Reserved, zero.
    pub flags: u64,
    /// The largest range of RAM that neither the image nor the host uses: the guest's own.
    pub heap: Range,
    /// The [console window](crate::console).
    pub console: u64,
    /// The arguments, each ended by a NUL, one behind the other.
    pub args: Range,
    /// All RAM; a range not in use is `0..0`.
    pub ram: [Range; RAM_RANGES],
    /// The [mailbox](crate::mailbox), for an image whose note says that it answers calls; else
    /// `0..0`.
    pub mailbox: Range,
}

impl BootInfo {
    /// Bytes of the boot information in memory.
    pub const SIZE: usize = 8 * (2 + 1 + 2 + 1 + 2 + 2 * RAM_RANGES + 2);

    /// The form it has in guest memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let words = [
            MAGIC,
            u64::from(crate::VERSION),
            self.flags,
            self.heap.start,
            self.heap.end,
            self.console,
            self.args.start,
            self.args.end,
            self.ram[0].start,
            self.ram[0].end,
            self.ram[1].start,
            self.ram[1].end,
            self.mailbox.start,
            self.mailbox.end,
        ];
        let mut bytes = [0; Self::SIZE];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for another magic or version.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut words = [0; Self::SIZE / 8];
        for (word, from) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*from);
        }
        let range = |i: usize| Range { start: words[i], end: words[i + 1] };
        if words[0] != MAGIC || words[1] != u64::from(crate::VERSION) {
            return None;
        }
        Some(Self {
            flags: words[2],
            heap: range(3),
            console: words[5],
            args: range(6),
            ram: [range(8), range(10)],
            mailbox: range(12),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{BootInfo, Range};

    fn example() -> BootInfo {
        BootInfo {
            flags: 0,
            heap: Range { start: 0x20_0000, end: 0x30_0000 },
            console: 0x3F_0FC0,
            args: Range { start: 0x3F_0060, end: 0x3F_0065 },
            ram: [Range { start: 0, end: 0x40_0000 }, Range::default()],
            mailbox: Range { start: 0x3D_0000, end: 0x3E_0000 },
        }
    }

    #[test]
    fn boot_information_crosses_unchanged() {
        assert_eq!(BootInfo::from_bytes(&example().to_bytes()), Some(example()));
    }

    #[test]
    fn another_magic_or_version_is_not_ours() {
        for byte in [0, 7, 8, 15] {
            let mut bytes = example().to_bytes();
            bytes[byte] ^= 0x80;
            assert_eq!(BootInfo::from_bytes(&bytes), None);
        }
    }

    #[test]
    fn a_range_turned_round_is_empty() {
        assert_eq!(Range { start: 9, end: 4 }.size(), 0);
    }
}
