//! ELF files: read, laid out and loaded as for a VM, but for the KVM.

use portcall::abi::note::TYPE_ENTRY;
use portcall::abi::tests::Entry;
use portcall::address_space::address_space;
use portcall::layout::{GIB, Gva, Layout, MIB, PAGE};
use portcall::paging::{Tables, tables_bound};
use portcall::sections::Sections;
use portcall::segment::Segment;
use portcall::walk::translate;
use portcall::{Gpa, Image, Memory, Ring, elf, load};

/// Memory sizes of a VM: all that makes a difference for where things lie.
const SIZES: [u64; 6] = [MIB, 2 * MIB, 4 * MIB, 16 * MIB, 3 * GIB, 3 * GIB + 4 * MIB];

/// Where an ELF header has its e_flags. The host does not look at them, so a case says there what
/// kind of VM it is for.
const E_FLAGS: usize = 48;

/// The most pages of page tables that are built: a segment of gigabytes that no large page fits
/// takes a thousand, and as long as a thousand cases.
const TABLES: u64 = 64;

/// The most bytes of a segment that are compared with what was asked for.
const COMPARED: u64 = 64 * PAGE;

/// Reads `data` as an image, and loads it if it is one.
pub fn target(data: &[u8]) {
    let _ = elf::extent(&data[..data.len().min(elf::HEAD)]);
    sections(data);
    let Ok(image) = Image::parse(data) else { return };
    parsed_holds(&image, data);
    entries(&image);
    let flags = data.get(E_FLAGS).copied().unwrap_or_default();
    let memory = SIZES[usize::from(flags >> 1) % SIZES.len()];
    let ring = if flags & 1 == 0 { Ring::Zero } else { Ring::Three };
    loaded(&image, memory, ring);
    // Most wanted is memory that all of it fits.
    if memory != 16 * MIB {
        loaded(&image, 16 * MIB, ring);
    }
}

/// What a list of tests is made of.
fn entries(image: &Image<'_>) {
    for (_, descriptor) in image.notes_of(TYPE_ENTRY) {
        let Some(entry) = Entry::from_bytes(descriptor) else { continue };
        assert!(entry.name.len() + entry.reason.len() + entry.expected.len() <= descriptor.len());
    }
}

fn sections(data: &[u8]) {
    let sections = Sections::parse(data);
    let _ = sections.any_compressed();
    let names = sections.iter().map(|section| section.name.len()).sum::<usize>();
    let symbols = sections.symbols().map(|(name, symbol)| (name.len() as u64) ^ symbol.st_value);
    std::hint::black_box((names, symbols.fold(0, u64::wrapping_add), sections.bytes(".text")));
}

/// What [`Image::parse`] promises.
fn parsed_holds(image: &Image<'_>, data: &[u8]) {
    let segments = image.segments();
    assert!(!segments.is_empty());
    for (i, segment) in segments.iter().enumerate() {
        let Segment { gva, gpa, size, file, .. } = segment;
        assert!(*size > 0 && file.len() as u64 <= *size && file.end <= data.len());
        assert_eq!(image.bytes_of(segment).len(), file.len());
        assert_eq!(gva.0 % PAGE, gpa.0 % PAGE);
        for other in &segments[..i] {
            let apart = |a: std::ops::Range<u64>, b: std::ops::Range<u64>| {
                a.end <= b.start || b.end <= a.start
            };
            assert!(apart(segment.virtual_range(), other.virtual_range()));
            assert!(apart(segment.physical_range(), other.physical_range()));
        }
    }
    let entry = image.entry().0;
    let code = segments.iter().find(|segment| segment.virtual_range().contains(&entry));
    assert!(code.is_some_and(|code| code.permissions.execute));
    for relocation in image.relocations() {
        let holds = |range: std::ops::Range<u64>| {
            range.start <= relocation.gpa.0 && relocation.gpa.0 + 8 <= range.end
        };
        assert!(segments.iter().any(|segment| holds(segment.physical_range())));
    }
    let _ = image.symbol("_start");
    let notes = image.notes();
    for noted in notes.calls.iter().chain(&notes.serves) {
        std::hint::black_box((noted.id(), noted.method_name(0)));
    }
}

/// Steps 2, 6 and 9 for a VM of so much memory.
fn loaded(image: &Image<'_>, memory: u64, ring: Ring) {
    let segments = image.segments();
    let bound = tables_bound(memory, segments);
    let mailbox = if image.notes().serves.is_empty() { 0 } else { portcall::abi::mailbox::SIZE };
    let Ok(layout) = Layout::new(memory, bound, 0, mailbox) else { return };
    if bound > TABLES {
        return;
    }
    if load::check(image, &layout).is_err() {
        return;
    }
    let space = address_space(&layout, segments, ring);
    let tables = Tables::build(Gpa(layout.tables.start), &space);
    assert!(tables.pages() <= bound, "{} pages of {bound}", tables.pages());
    let ram = Memory::map(&layout).expect("sparse memory costs nothing");
    tables.write(&ram, &layout.tables).expect("the bound is one");
    load::image(&ram, image).expect("it was checked");
    let _ = load::boot_info(image, &layout, 0).to_bytes();
    for segment in segments {
        mapped_as_asked(&ram, &layout, segment, ring);
    }
    // Only what has no relocations has its file's bytes.
    if image.relocations().is_empty() {
        for segment in segments {
            let file = image.bytes_of(segment);
            let mut there = vec![0; file.len()];
            ram.read(segment.gpa, &mut there).expect("it was checked");
            assert!(there == file, "{segment:?} is not what the file has");
        }
    }
}

/// Every page of the segment is where it wants to be, and may be used as it says.
fn mapped_as_asked(ram: &Memory, layout: &Layout, segment: &Segment, ring: Ring) {
    let last = segment.size - 1;
    let within = (0..segment.size.min(COMPARED)).step_by(4096).chain([last]);
    for offset in within {
        let gva = Gva(segment.gva.0 + offset);
        let found = translate(ram, layout.tables.start, gva).expect("mapped");
        assert_eq!(found.gpa.0, segment.gpa.0 + offset, "{gva}");
        assert!(found.writable || !segment.permissions.write, "{gva}");
        assert!(found.executable || !segment.permissions.execute, "{gva}");
        assert_eq!(found.user, ring == Ring::Three, "{gva}");
    }
}
