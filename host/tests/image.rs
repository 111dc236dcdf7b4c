//! ELF files, right and wrong: what `Image::parse` and the placement in memory say of them.
//! No KVM is needed here.

mod common;

use common::elf::{BODY, DYNAMIC, Elf, INTERP, NOTE, Ph, R, RW, data};
use portcall::address_space::address_space;
use portcall::error::{ImageError, MemoryError};
use portcall::layout::{GIB, Layout, MIB};
use portcall::{Gpa, Image, Ring, load, paging};

const HLT: &[u8] = &[0xf4];

fn error(elf: &Elf) -> ImageError {
    Image::parse(&elf.bytes()).expect_err("refused")
}

/// The error of loading into `memory` bytes.
fn placement(elf: &Elf, memory: u64) -> MemoryError {
    let bytes = elf.bytes();
    let image = Image::parse(&bytes).expect("a right file");
    let tables = paging::tables_bound(memory, image.segments());
    Layout::new(memory, tables, 0, 0)
        .and_then(|layout| load::check(&image, &layout))
        .expect_err("refused")
}

macro_rules! assert_error {
    ($error:expr, $pattern:pat, $words:literal) => {{
        let error = $error;
        assert!(matches!(error, $pattern), "{error:?}");
        let text = error.to_string();
        assert!(text.contains($words), "{text:?} does not say {:?}", $words);
    }};
}

/// The note of an image built against this version of the contract.
const fn version_note() -> [u8; 28] {
    abi::note::to_bytes(abi::note::TYPE_VERSION, &abi::VERSION.to_le_bytes())
}

#[test]
fn a_right_file_is_taken() {
    let bytes = Elf::new(HLT).with(data(0x20_0000, 8), &[7; 8]).bytes();
    let image = Image::parse(&bytes).expect("right");
    assert_eq!(image.entry().0, 0x10_0000);
    assert_eq!(image.segments().len(), 2);
    assert_eq!(image.bytes_of(&image.segments()[1]), [7; 8]);
    assert_eq!(portcall::elf::extent(&bytes[..4096]), Some(bytes.len() as u64));
}

#[test]
fn not_an_elf_file() {
    let parse = |bytes: &[u8]| Image::parse(bytes).expect_err("refused");
    assert_error!(parse(&[]), ImageError::Empty, "empty");
    assert_error!(parse(b"#!/bin/sh\n"), ImageError::NotElf { .. }, "not an ELF file");
    assert_error!(parse(b"\x7f"), ImageError::NotElf { .. }, "not an ELF file");
    assert_error!(parse(b"\x7fELF"), ImageError::Truncated { .. }, "cut short");
    assert_error!(parse(b"\x7fELF\x02\x01\x01"), ImageError::Truncated { .. }, "cut short");
}

#[test]
fn another_kind_of_elf() {
    let change = |change: fn(&mut Elf)| {
        let mut elf = Elf::new(HLT);
        change(&mut elf);
        error(&elf)
    };
    assert_error!(change(|e| e.class = 1), ImageError::Unsupported { .. }, "32-bit");
    assert_error!(change(|e| e.class = 9), ImageError::Unsupported { .. }, "class 9");
    assert_error!(change(|e| e.data = 2), ImageError::Unsupported { .. }, "big-endian");
    assert_error!(change(|e| e.data = 0), ImageError::Unsupported { .. }, "encoding 0");
    assert_error!(change(|e| e.machine = 183), ImageError::Unsupported { .. }, "another machine");
    assert_error!(change(|e| e.kind = 1), ImageError::Unsupported { .. }, "object file");
    assert_error!(change(|e| e.kind = 4), ImageError::Unsupported { .. }, "core dump");
    assert_error!(change(|e| e.kind = 77), ImageError::Unsupported { .. }, "type 0x4d");
    assert_error!(change(|e| e.phentsize = 32), ImageError::Unsupported { .. }, "32 bytes");
}

#[test]
fn nothing_to_load() {
    let mut none = Elf::new(HLT);
    none.headers.clear();
    assert_error!(error(&none), ImageError::NoSegments, "PT_LOAD");
    let other = Elf::new(HLT).first(|h| h.kind = NOTE);
    assert_error!(error(&other), ImageError::NoSegments, "PT_LOAD");
    let empty = Elf::new(HLT).first(|h| (h.filesz, h.memsz) = (0, 0));
    assert_error!(error(&empty), ImageError::NoSegments, "PT_LOAD");
}

#[test]
fn too_many_segments() {
    let mut elf = Elf::new(HLT);
    let file = elf.bytes();
    // As many headers as the field can say, all the same ones, over the whole file.
    elf.phnum = Some(u16::MAX);
    elf.body.resize(usize::from(u16::MAX) * 56, 0);
    let mut bytes = elf.bytes();
    let header = file[64..64 + 56].to_vec();
    for i in 0..usize::from(u16::MAX) {
        bytes[64 + 56 * i..][..56].copy_from_slice(&header);
    }
    let error = Image::parse(&bytes).expect_err("refused");
    assert_error!(error, ImageError::Unsupported { .. }, "65535 PT_LOAD");
}

#[test]
fn tables_and_segments_outside_the_file() {
    let mut far = Elf::new(HLT);
    far.phoff = 1 << 40;
    assert_error!(error(&far), ImageError::OutOfFile { .. }, "program header table");
    far.phoff = u64::MAX - 8;
    assert_error!(error(&far), ImageError::OutOfFile { .. }, "program header table");
    let mut many = Elf::new(HLT);
    many.phnum = Some(4000);
    assert_error!(error(&many), ImageError::OutOfFile { .. }, "program header table");
    for (offset, size) in [(BODY + 1, 1), (!0xfff, 0x2000), (0, u64::MAX)] {
        let elf = Elf::new(HLT)
            .first(|h| (h.offset, h.filesz, h.memsz, h.align) = (offset, size, size, 1));
        assert_error!(error(&elf), ImageError::OutOfFile { .. }, "a segment");
    }
}

#[test]
fn sizes_that_contradict_or_overflow() {
    let elf = Elf::new(HLT).first(|h| h.memsz = 0x0);
    assert_error!(error(&elf), ImageError::NoSegments, "PT_LOAD");
    let elf = Elf::new(&[0xf4; 8]).first(|h| h.memsz = 4);
    assert_error!(error(&elf), ImageError::FileLargerThanMemory { .. }, "more bytes in the file");
    for (address, size) in [
        (0x10_0000, u64::MAX),
        (!0xfff, 0x1000),
        (0x7fff_ffff_f000, 0x2000),
        (0x8000_0000_0000, 0x1000),
        (0xffff_7fff_ffff_f000, 0x1000),
        (0x1000, 0xffff_9000_0000_0000),
    ] {
        let elf = Elf::new(HLT).first(|h| (h.vaddr, h.memsz) = (address, size));
        assert_error!(
            error(&elf),
            ImageError::AddressOverflow { .. },
            "does not fit an address space"
        );
    }
    let elf = Elf::new(HLT).first(|h| h.paddr = !0xfff);
    assert_error!(error(&elf), ImageError::AddressOverflow { .. }, "does not fit");
}

#[test]
fn wrong_alignment() {
    for (align, words) in [(3, "power of two"), (1 << 40, "above 1 GiB")] {
        let elf = Elf::new(HLT).first(|h| h.align = align);
        let text = error(&elf).to_string();
        assert!(text.contains(words), "{text}");
    }
    let elf = Elf::new(HLT).first(|h| (h.vaddr, h.paddr) = (0x10_0010, 0x10_0010));
    assert_error!(error(&elf), ImageError::Misaligned { .. }, "p_offset differ modulo p_align");
    let elf = Elf::new(HLT).first(|h| h.paddr = 0x10_0010);
    assert_error!(error(&elf), ImageError::Misaligned { .. }, "p_paddr differ modulo the page");
}

#[test]
fn overlapping_segments() {
    let elf = Elf::new(HLT).with(data(0x10_0000, 1), &[0]);
    assert_error!(error(&elf), ImageError::Overlap { .. }, "overlap");
    // Apart where they are seen, but not where they lie.
    let elf = Elf::new(HLT).with(Ph { paddr: 0x10_0000, ..data(0x50_0000, 1) }, &[0]);
    assert_error!(error(&elf), ImageError::Overlap { .. }, "overlap");
    // And the other way round.
    let elf = Elf::new(HLT).with(Ph { paddr: 0x50_0000, ..data(0x10_0000, 1) }, &[0]);
    assert_error!(error(&elf), ImageError::Overlap { .. }, "overlap");
    // One virtual page that would be two physical ones.
    let elf = Elf::new(HLT).with(Ph { paddr: 0x50_0800, align: 1, ..data(0x10_0800, 1) }, &[0]);
    assert_error!(error(&elf), ImageError::Misaligned { .. }, "shares a virtual page");
}

#[test]
fn a_wrong_entry() {
    let mut elf = Elf::new(HLT);
    elf.entry = 0x10_0001;
    assert_error!(error(&elf), ImageError::EntryOutside { .. }, "outside every segment");
    elf.entry = 0;
    assert_error!(error(&elf), ImageError::EntryOutside { .. }, "outside every segment");
    let elf = Elf::new(HLT).first(|h| h.flags = RW);
    assert_error!(error(&elf), ImageError::EntryNotExecutable { .. }, "not executable");
}

#[test]
fn dynamically_linked() {
    let header = |kind| Ph { kind, flags: R, ..data(0x20_0000, 0) };
    let elf = Elf::new(HLT).with(header(INTERP), b"/lib64/ld-linux-x86-64.so.2\0");
    assert_error!(error(&elf), ImageError::Dynamic { .. }, "PT_INTERP");
    let table: Vec<u8> = [1u64, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    let elf = Elf::new(HLT).with(Ph { filesz: 16, memsz: 16, ..header(DYNAMIC) }, &table);
    assert_error!(error(&elf), ImageError::Dynamic { .. }, "DT_NEEDED");
}

/// A position-independent file with a relocation table at 0x2000 and data at 0x3000.
fn pie(rela: &[[u64; 3]]) -> Elf {
    let bytes = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let table = bytes(rela.as_flattened());
    let size = table.len() as u64;
    let mut elf = Elf::new(HLT).first(|h| (h.vaddr, h.paddr) = (0x1000, 0x1000));
    elf.kind = 3;
    elf.entry = 0x1000;
    let dynamic = bytes(&[7, 0x2000, 8, size, 0, 0]);
    elf.with(Ph { flags: R, ..data(0x2000, size) }, &table)
        .with(data(0x3000, 16), &[0; 16])
        .with(Ph { kind: DYNAMIC, filesz: 48, memsz: 48, ..data(0x4000, 48) }, &dynamic)
}

#[test]
fn relocations_of_a_position_independent_file() {
    const RELATIVE: u64 = 8;
    let bytes = pie(&[[0x3008, RELATIVE, 0x1000], [0, 0, 0]]).bytes();
    let image = Image::parse(&bytes).expect("right");
    let base = image.entry().0 - 0x1000;
    assert_eq!(base % 0x1000, 0);
    let [relocation] = image.relocations() else { panic!("{:?}", image.relocations()) };
    assert_eq!((relocation.gpa.0, relocation.value), (base + 0x3008, base + 0x1000));

    for address in [0x3009, 0x5000, u64::MAX, 0x2fff] {
        let elf = pie(&[[address, RELATIVE, 0]]);
        assert_error!(error(&elf), ImageError::RelocationOutside { .. }, "outside every segment");
    }
    for (kind, words) in [(37u64, "IRELATIV"), (1, "X86_64_64"), (200, "type 200")] {
        let text = error(&pie(&[[0x3000, kind, 0]])).to_string();
        assert!(text.contains(words) && text.contains("static-pie"), "{text}");
    }
    let mut outside = pie(&[[0x3008, RELATIVE, 0]]);
    let at = outside.body.len() - 48 + 8;
    outside.body[at..at + 8].copy_from_slice(&0x99_0000u64.to_le_bytes());
    assert_error!(error(&outside), ImageError::OutOfFile { .. }, "relocation table");
}

#[test]
fn the_contracts_version() {
    let note = |version: &[u8]| {
        let mut note = version_note().to_vec();
        note.truncate(24);
        note[4] = u8::try_from(version.len()).expect("small");
        note.extend(version);
        let size = note.len() as u64;
        Elf::new(HLT).with(Ph { kind: NOTE, align: 4, ..data(0x20_0000, size) }, &note)
    };
    assert!(Image::parse(&note(&abi::VERSION.to_le_bytes()).bytes()).is_ok());
    assert_error!(
        error(&note(&[9, 0, 0, 0])),
        ImageError::ContractVersion { image: 9, .. },
        "version 9"
    );
    assert_error!(error(&note(&[1, 0])), ImageError::BadNote, "damaged");
    // Another owner's note, and none that could be read.
    let mut other = note(&[9, 0, 0, 0]);
    let name = other.body.len() - 16;
    other.body[name] = b'p';
    assert!(Image::parse(&other.bytes()).is_ok());
}

#[test]
fn images_that_do_not_fit_the_memory() {
    let at = |address: u64, size: u64| {
        let mut elf =
            Elf::new(HLT).first(|h| (h.vaddr, h.paddr, h.memsz) = (address, address, size));
        elf.entry = address;
        elf
    };
    let bss = at(MIB, 4 * GIB);
    assert_error!(placement(&bss, 16 * MIB), MemoryError::ImageOutsideRam { .. }, "smaller");
    let large = at(MIB, 32 * MIB);
    assert_error!(
        placement(&large, 16 * MIB),
        MemoryError::ImageOutsideRam { .. },
        "at least 34 MiB"
    );
    let tight = at(MIB, 15 * MIB);
    assert_error!(placement(&tight, 16 * MIB), MemoryError::ImageInReserved { .. }, "more memory");
    let high = at(32 * MIB, 1);
    assert_error!(
        placement(&high, 16 * MIB),
        MemoryError::ImageOutsideRam { .. },
        "at least 33 MiB"
    );
    let hole = at(3 * GIB + 4096, 1);
    assert_error!(placement(&hole, 8 * GIB), MemoryError::ImageInHole { .. }, "hole");
    let into_hole = at(3 * GIB - 4096, 8192);
    assert_error!(placement(&into_hole, 8 * GIB), MemoryError::ImageInHole { .. }, "hole");
    let null = at(0, 1);
    assert_error!(placement(&null, 16 * MIB), MemoryError::ImageInNullPage { .. }, "null page");
    let ours = at(16 * MIB - 4096, 1);
    assert_error!(placement(&ours, 16 * MIB), MemoryError::ImageInReserved { .. }, "own range");
    let higher_half = at(0xffff_ffff_8000_0000, 1);
    assert_error!(placement(&higher_half, 16 * MIB), MemoryError::ImageOutsideRam { .. }, "AT()");
    // Seen where our range is, though it lies elsewhere.
    let shadow = Elf::new(HLT).with(Ph { paddr: 0x20_0000, ..data(16 * MIB - 8192, 1) }, &[0]);
    assert_error!(placement(&shadow, 16 * MIB), MemoryError::ImageInReserved { .. }, "own range");
}

/// Every byte of the headers, changed to each of some values, and every short file: `parse` says
/// yes or no, and what it takes can be laid out or not; nothing panics.
#[test]
fn mutated_files_are_taken_or_refused() {
    let good = pie(&[[0x3008, 8, 0x1000]])
        .with(Ph { kind: NOTE, align: 4, ..data(0x9000, 28) }, &version_note());
    let bytes = good.bytes();
    let interesting: Vec<usize> = (0..64 + 56 * good.headers.len())
        .chain(usize::try_from(BODY).expect("small")..bytes.len())
        .filter(|at| *at < 512 || bytes[*at] != 0)
        .collect();
    let mut taken = 0;
    let mut try_it = |bytes: &[u8]| {
        let _ = portcall::elf::extent(&bytes[..bytes.len().min(4096)]);
        let Ok(image) = Image::parse(bytes) else { return };
        taken += 1;
        let tables = paging::tables_bound(16 * MIB, image.segments());
        let Ok(layout) = Layout::new(16 * MIB, tables, 0, 0) else { return };
        if load::check(&image, &layout).is_ok() {
            let space = address_space(&layout, image.segments(), Ring::Zero);
            let built = paging::Tables::build(Gpa(layout.tables.start), &space);
            // What the tables map is what was asked for, and they fit where they are to lie.
            let leaves = built.entries().iter().filter(|entry| entry.leaf()).count();
            assert!(leaves > 0 && built.pages() <= tables, "{} of {tables}", built.pages());
        }
        let _ = image.symbol("main");
    };
    for at in interesting {
        for value in [0, 1, 2, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(8)] {
            let mut mutated = bytes.clone();
            mutated[at] = value;
            try_it(&mutated);
        }
    }
    for size in 0..bytes.len().min(1024) {
        try_it(&bytes[..size]);
    }
    assert!(taken > 100, "only {taken} mutations were taken: does the base file parse?");
}
