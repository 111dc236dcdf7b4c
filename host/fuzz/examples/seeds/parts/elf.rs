//! ELF files as linkers make them, but small.

use super::Seed;
use fuzz_targets::file::{
    DYN, DYNAMIC, EXEC, LOAD, NOTE, PROGBITS, RW, RX, STRTAB, SYMTAB, Section, Segment, elf, note,
};
use portcall::abi;
use portcall::layout::MIB;

/// A load segment.
pub(crate) fn load(flags: u32, address: u64, bytes: &[u8], zeros: u64) -> Segment {
    Segment { kind: LOAD, flags, address, zeros, align: 16, bytes: bytes.to_vec() }
}

/// A symbol of a function.
fn symbol(name: u32, address: u64, size: u64) -> Vec<u8> {
    let mut symbol = name.to_le_bytes().to_vec();
    symbol.extend([2, 0, 1, 0]);
    symbol.extend(address.to_le_bytes());
    symbol.extend(size.to_le_bytes());
    symbol
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// One of each kind that is loaded.
pub(crate) fn seeds() -> Vec<Seed> {
    let code = load(RX, MIB, &[0xb8, 42, 0, 0, 0, 0xf4], 0);
    let data = load(RW, MIB + 0x2000, b"data", 0x1800);
    let high = Segment { address: 0xffff_ffff_8010_0000, ..code.clone() };
    let mut notes = note(abi::note::TYPE_VERSION, &abi::VERSION.to_le_bytes());
    notes.extend(note(abi::note::TYPE_CALLS, b"Store\0put(key: &str, value: &[u8]) -> u64\0"));
    notes.extend(note(abi::note::TYPE_SERVES, b"Calc\0add(a: u64, b: u64) -> u64\0"));
    let notes = Segment { kind: NOTE, flags: 4, align: 4, bytes: notes, ..Segment::default() };
    let symbols = [vec![0; 24], symbol(1, MIB, 6), symbol(8, MIB + 0x2000, 4)].concat();
    let sections: [Section<'_>; 4] = [
        (".text", PROGBITS, MIB, &[0xb8, 42, 0, 0, 0, 0xf4]),
        (".symtab", SYMTAB, 0, &symbols),
        (".strtab", STRTAB, 0, b"\0_start\0DATA\0"),
        (".debug_line", PROGBITS, 0, b"line"),
    ];
    // Position-independent: a RELA table and a RELR table, which the dynamic table names.
    let rela = words(&[0x100, 8, 0x10]);
    let relr = words(&[0x100, 3]);
    let dynamic = |table: &[u64]| Segment {
        kind: DYNAMIC,
        flags: RW,
        address: 0x200,
        align: 8,
        bytes: words(table),
        ..Segment::default()
    };
    let text = [&[0xf4; 64][..], &rela, &relr].concat();
    let independent = |table: &[u64]| {
        let segments = [load(RX, 0, &text, 0), load(RW, 0x100, &[0; 64], 0), dynamic(table)];
        elf(DYN, 1, &segments, &[])
    };
    let all = [code.clone(), data.clone(), notes.clone()];
    let seeds = [
        ("small", elf(EXEC, MIB, std::slice::from_ref(&code), &[])),
        ("data", elf(EXEC, MIB, &[code.clone(), data.clone()], &[])),
        ("whole", elf(EXEC, MIB, &all, &sections)),
        ("high", elf(EXEC, high.address, std::slice::from_ref(&high), &[])),
        ("rela", independent(&[7, 64, 8, 24, 9, 24, 0, 0])),
        ("relr", independent(&[36, 88, 35, 16, 0, 0])),
        ("jmprel", independent(&[23, 64, 2, 24, 0, 0])),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}
