//! Rows of exits, as the target reads them.

use super::Seed;

/// An access to a port by its place in the target's list: one element of 4 bytes.
fn out(port: u8, value: u32) -> Vec<u8> {
    [&[6, port, 2][..], &value.to_le_bytes()].concat()
}

fn register(which: u8, start: u8, offset: u16) -> Vec<u8> {
    [&[0, which, start][..], &offset.to_le_bytes()].concat()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let read = |port: u8| vec![8, port, 2];
    let text = |bytes: u16| [&[3, 0][..], &bytes.to_le_bytes()].concat();
    let panic = [
        register(1, 1, 8),
        register(2, 0, 11),
        register(3, 1, 24),
        register(4, 0, 4),
        [&[1, 1, 8, 0, 20][..], b"the message......a.rs"].concat(),
        out(4, 0),
    ]
    .concat();
    // A page fault: slot 14 of four bytes, and its frame.
    let frame: Vec<u8> =
        [2_u64, 0x1_0000, 8, 2, 0x2_0000, 0x10].into_iter().flat_map(u64::to_le_bytes).collect();
    let exception = [&[4, 57, 0, 6, 48][..], &frame].concat();
    let string = [&[6, 0, 192][..], &99_u16.to_le_bytes(), b"abcdefghijklmnop"].concat();
    let reads: Vec<u8> = (0..14).flat_map(read).collect();
    let shutdown = [&[5, 8][..], &[0; 72]].concat();
    // KVM_INTERNAL_ERROR_EMULATION with four words.
    let internal = [&[5, 17, 1, 0, 0, 0, 4, 0, 0, 0, 1][..], &[0x0f; 61]].concat();
    let mmio = [&[5, 6][..], &[0xc0; 72]].concat();
    // Accesses to the window, of each size and at its edges; and to registers.
    let word = 0x1122_3344_5566_7788_u64.to_le_bytes();
    let store = |at: u16, size: u8| [&[10, 0][..], &at.to_le_bytes(), &[size], &word].concat();
    let load = |back: u8, size: u8| vec![10, 1, back, 16 | size];
    let window = (0..10).flat_map(|size| [store(0xffc, size), load(4, size)].concat());
    let registers = (0..18).flat_map(|msr| [&[11, msr, 0][..], &word, &[11, msr, 1]].concat());
    let seeds = [
        ("text", [vec![0x10], text(100), out(1, 0), out(0, 0x41), text(9000), out(3, 7)].concat()),
        ("string", [vec![0], string, text(2), out(3, 0)].concat()),
        ("reads", [vec![0xf0], reads, out(7, 0)].concat()),
        ("writes", [vec![0x31], (0..14).flat_map(|port| out(port, 0xee)).collect()].concat()),
        ("panic", [vec![0], panic].concat()),
        ("exception", [vec![0], exception].concat()),
        ("window", [vec![0], window.collect()].concat()),
        ("registers", [vec![0], registers.collect()].concat()),
        ("ends", [vec![1], vec![5, 5], vec![0; 72], shutdown, internal, mmio].concat()),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}
