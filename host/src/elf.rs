//! Bytes in, segments out: what an ELF file wants in memory, checked before any KVM.
//!
//! Every number in the file is a claim. What [`Image::parse`] returns holds: file ranges are
//! inside the file, addresses fit their space and overlap nowhere, the entry is executable.
//! Whether it fits the memory of one VM is for [`load`](crate::load).

use crate::error::ImageError;
use crate::layout::{Gpa, Gva, PAGE, PIE_BASE};
use crate::note::{self, Notes};
use crate::relocate::{self, Relocation};
use crate::sections::Sections;
use crate::segment::{Permissions, Segment};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{self, Header};
use goblin::elf::program_header::{self as ph, ProgramHeader};
use std::ops::Range;

pub(crate) const CONTEXT: Ctx = Ctx { container: Container::Big, le: Endian::Little };

/// The largest p_align there is a use for: the largest page.
const MAX_ALIGN: u64 = 1 << 30;

/// The most segments that are loaded, and the most PT_NOTE that are read. Linkers make some
/// five; the bound is what keeps a hostile file from costing more than its size.
const MAX_SEGMENTS: usize = 256;
const MAX_NOTES: usize = 16;

/// A symbol of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its address.
    pub address: Gva,
    /// Its bytes; 0 where the image does not say.
    pub size: u64,
}

/// A guest program, ready to be loaded into any number of VMs.
///
/// ```
/// use portcall::Image;
///
/// let flat = Image::flat(&[0xf4])?;
/// assert!(Image::parse(b"no ELF file").is_err());
/// # let _ = flat;
/// # Ok::<(), portcall::error::ImageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    entry: Gva,
    bias: u64,
    segments: Vec<Segment>,
    relocations: Vec<Relocation>,
    notes: Notes,
    /// Where the notes lie, in memory and in the file, and their alignment.
    note_segments: Vec<(Gva, Range<usize>, u64)>,
}

impl<'a> Image<'a> {
    /// Reads a static ELF64 x86-64 executable, position-independent or not.
    ///
    /// # Errors
    /// The file is not such an executable, or contradicts itself; the error says where.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let header = parse_header(bytes)?;
        let headers = program_headers(bytes, &header)?;
        if headers.iter().any(|segment| segment.p_type == ph::PT_INTERP) {
            return Err(ImageError::Dynamic { what: "it names an interpreter, PT_INTERP" });
        }
        let loads = || headers.iter().filter(|h| h.p_type == ph::PT_LOAD && h.p_memsz > 0);
        match loads().count() {
            0 => return Err(ImageError::NoSegments),
            1..=MAX_SEGMENTS => {}
            more => {
                return Err(ImageError::Unsupported {
                    what: format!("an ELF file of {more} PT_LOAD segments"),
                    wanted: "at most 256",
                });
            }
        }
        for load in loads() {
            check_alignment(load)?;
        }
        let relocatable = header.e_type == header::ET_DYN;
        let bias = if relocatable { pie_bias(loads()) } else { 0 };
        let segments = loads()
            .map(|load| segment(bytes, load, bias, relocatable))
            .collect::<Result<Vec<_>, _>>()?;
        check_overlap(&segments)?;
        let entry = Gva(header.e_entry.wrapping_add(bias));
        check_entry(&segments, entry, header.e_entry)?;
        let mut notes = Notes::default();
        let mut note_segments = Vec::new();
        for h in headers.iter().filter(|h| h.p_type == ph::PT_NOTE).take(MAX_NOTES) {
            let range = file_range(bytes, "the note", h.p_offset, h.p_filesz)?;
            notes.read(&bytes[range.clone()], h.p_align)?;
            note_segments.push((Gva(h.p_vaddr.wrapping_add(bias)), range, h.p_align));
        }
        let mut relocations = Vec::new();
        if let Some(h) = headers.iter().find(|h| h.p_type == ph::PT_DYNAMIC) {
            let table = file_range(bytes, "the dynamic table", h.p_offset, h.p_filesz)?;
            relocations = relocate::parse(bytes, &bytes[table], &segments, bias)?;
        }
        Ok(Self { bytes, entry, bias, segments, relocations, notes, note_segments })
    }

    /// Takes raw machine code for an image: one segment at 1 MiB that may be read, written and
    /// executed, entered at its first byte.
    ///
    /// # Errors
    /// There are no bytes.
    pub fn flat(code: &'a [u8]) -> Result<Self, ImageError> {
        if code.is_empty() {
            return Err(ImageError::Empty);
        }
        let segment = Segment {
            gva: Gva(PIE_BASE),
            gpa: Gpa(PIE_BASE),
            size: code.len() as u64,
            file: 0..code.len(),
            permissions: Permissions { write: true, execute: true },
        };
        Ok(Self {
            bytes: code,
            entry: segment.gva,
            bias: 0,
            segments: vec![segment],
            relocations: Vec::new(),
            notes: Notes::default(),
            note_segments: Vec::new(),
        })
    }

    /// Where the guest starts.
    #[must_use]
    pub const fn entry(&self) -> Gva {
        self.entry
    }

    /// What is loaded, in the order of the file.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What is patched after loading.
    #[must_use]
    pub fn relocations(&self) -> &[Relocation] {
        &self.relocations
    }

    /// What the image says of itself in the contract's notes.
    #[must_use]
    pub const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The contract's notes of a type, `abi::note::TYPE_*`: where in memory each one's descriptor
    /// is, and what the file has there. Both are claims.
    pub fn notes_of(&self, kind: u32) -> impl Iterator<Item = (Gva, &'a [u8])> {
        self.note_segments.iter().flat_map(move |(start, range, align)| {
            let found =
                note::of_type(self.bytes.get(range.clone()).unwrap_or_default(), *align, kind);
            found.map(|(at, descriptor)| (Gva(start.0.wrapping_add(at)), descriptor))
        })
    }

    /// What was added to the addresses in the file, modulo 2^64: not 0 for a position-independent
    /// image.
    #[must_use]
    pub const fn bias(&self) -> u64 {
        self.bias
    }

    /// A segment's bytes in the file.
    #[must_use]
    pub fn bytes_of(&self, segment: &Segment) -> &'a [u8] {
        // `get`, since a caller may hand in a segment of another image.
        self.bytes.get(segment.file.clone()).unwrap_or_default()
    }

    /// Finds a symbol by its name as the linker knows it (`#[unsafe(no_mangle)]` in Rust).
    /// `None` as well where the image has no readable symbol table.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        let sections = Sections::parse(self.bytes);
        let (_, found) = sections.symbols().find(|(known, _)| *known == name.as_bytes())?;
        let address = Gva(found.st_value.wrapping_add(self.bias));
        Some(Symbol { address, size: found.st_size })
    }
}

/// How many bytes from the start of an ELF file are all that loading it needs, from its first
/// [`HEAD`] bytes. What follows is debug information and symbols, often the most of the file.
/// `None` where the head does not tell: then the whole file is needed, if only to say what is
/// wrong with it.
#[must_use]
pub fn extent(head: &[u8]) -> Option<u64> {
    let header = parse_header(head).ok()?;
    let headers = program_headers(head, &header).ok()?;
    let table = header.e_phoff.checked_add(headers.len() as u64 * u64::from(header.e_phentsize))?;
    headers
        .iter()
        .try_fold(table, |extent, h| Some(extent.max(h.p_offset.checked_add(h.p_filesz)?)))
}

/// Bytes that hold the program headers of any file a linker made.
pub const HEAD: usize = 4096;

/// The ELF header, once it is known to be one for us (ELF specification, "ELF Header").
fn parse_header(bytes: &[u8]) -> Result<Header, ImageError> {
    let unsupported = |what: String| ImageError::Unsupported {
        what,
        wanted: "x86-64, 64-bit, as a static executable (x86_64-unknown-none in Rust)",
    };
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if !bytes.starts_with(header::ELFMAG) {
        return Err(ImageError::NotElf { magic: bytes[..bytes.len().min(4)].to_vec() });
    }
    let cut = || ImageError::Truncated { size: bytes.len() };
    let (class, data) =
        (bytes.get(header::EI_CLASS).ok_or_else(cut)?, bytes.get(header::EI_DATA).ok_or_else(cut)?);
    match *class {
        header::ELFCLASS64 => {}
        header::ELFCLASS32 => return Err(unsupported("a 32-bit ELF file".into())),
        other => return Err(unsupported(format!("an ELF file of class {other}"))),
    }
    match *data {
        header::ELFDATA2LSB => {}
        header::ELFDATA2MSB => return Err(unsupported("a big-endian ELF file".into())),
        other => return Err(unsupported(format!("an ELF file of data encoding {other}"))),
    }
    if bytes.len() < Header::size(CONTEXT) {
        return Err(cut());
    }
    let header = goblin::elf::Elf::parse_header(bytes)
        .map_err(|error| unsupported(format!("an ELF file whose header is wrong ({error})")))?;
    if header.e_machine != header::EM_X86_64 {
        return Err(unsupported(format!(
            "for another machine ({})",
            header::machine_to_str(header.e_machine)
        )));
    }
    match header.e_type {
        header::ET_EXEC | header::ET_DYN => {}
        header::ET_REL => return Err(unsupported("an object file that was not linked".into())),
        header::ET_CORE => return Err(unsupported("a core dump".into())),
        other => return Err(unsupported(format!("an ELF file of type {other:#x}"))),
    }
    Ok(header)
}

fn program_headers(bytes: &[u8], header: &Header) -> Result<Vec<ProgramHeader>, ImageError> {
    if header.e_phnum == 0 {
        return Err(ImageError::NoSegments);
    }
    let entry = ProgramHeader::size(CONTEXT);
    if usize::from(header.e_phentsize) != entry {
        return Err(ImageError::Unsupported {
            what: format!("an ELF file with program headers of {} bytes", header.e_phentsize),
            wanted: "ELF64, whose program headers have 56",
        });
    }
    let size = u64::from(header.e_phnum) * entry as u64;
    let what = "the program header table";
    let table = file_range(bytes, what, header.e_phoff, size)?;
    ProgramHeader::parse(bytes, table.start, usize::from(header.e_phnum), CONTEXT)
        .map_err(|_| out_of_file(bytes, what, header.e_phoff, size))
}

const fn out_of_file(bytes: &[u8], what: &'static str, offset: u64, size: u64) -> ImageError {
    ImageError::OutOfFile { what, offset, size, file: bytes.len() as u64 }
}

/// The claim `offset`, `size` as a range that is inside the file.
pub(crate) fn file_range(
    bytes: &[u8],
    what: &'static str,
    offset: u64,
    size: u64,
) -> Result<Range<usize>, ImageError> {
    let range = || {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        (end <= bytes.len()).then_some(start..end)
    };
    range().ok_or_else(|| out_of_file(bytes, what, offset, size))
}

/// p_align's rule (ELF specification, "Program Header"): a power of two, or 0 or 1 for none,
/// and address and offset agree modulo it.
fn check_alignment(load: &ProgramHeader) -> Result<(), ImageError> {
    let wrong = |reason| Err(ImageError::Misaligned { address: load.p_vaddr, reason });
    if load.p_align <= 1 {
        return Ok(());
    }
    if !load.p_align.is_power_of_two() {
        return wrong("p_align is not a power of two");
    }
    if load.p_align > MAX_ALIGN {
        return wrong("p_align is above 1 GiB");
    }
    if load.p_vaddr % load.p_align != load.p_offset % load.p_align {
        return wrong("p_vaddr and p_offset differ modulo p_align");
    }
    Ok(())
}

/// What is added to every address of a position-independent image, modulo 2^64.
fn pie_bias<'h>(loads: impl Iterator<Item = &'h ProgramHeader>) -> u64 {
    let (mut lowest, mut align) = (u64::MAX, PAGE);
    for load in loads {
        lowest = lowest.min(load.p_vaddr);
        align = align.max(load.p_align);
    }
    // Both are multiples of every p_align, so alignment stays as it was linked.
    PIE_BASE.next_multiple_of(align).wrapping_sub(lowest & !(align - 1))
}

fn segment(
    bytes: &[u8],
    load: &ProgramHeader,
    bias: u64,
    relocatable: bool,
) -> Result<Segment, ImageError> {
    let address = load.p_vaddr;
    let gva = load.p_vaddr.wrapping_add(bias);
    let gpa = if relocatable { gva } else { load.p_paddr };
    let file = file_range(bytes, "a segment", load.p_offset, load.p_filesz)?;
    if load.p_filesz > load.p_memsz {
        return Err(ImageError::FileLargerThanMemory {
            address,
            file_size: load.p_filesz,
            memory_size: load.p_memsz,
        });
    }
    let last = |start: u64| start.checked_add(load.p_memsz - 1);
    // One page below the end of the space, so that rounding up to pages never wraps.
    let fits = |start: u64| last(start).is_some_and(|last| last < u64::MAX - PAGE);
    let canonical = |a: u64| x86_64::VirtAddr::try_new(a).is_ok();
    // Both ends canonical and the size below half the space: then all between is as well.
    let mapped =
        fits(gva) && canonical(gva) && last(gva).is_some_and(canonical) && load.p_memsz < 1 << 47;
    if !mapped || !fits(gpa) {
        return Err(ImageError::AddressOverflow { address, size: load.p_memsz });
    }
    if gva % PAGE != gpa % PAGE {
        let reason = "p_vaddr and p_paddr differ modulo the page size";
        return Err(ImageError::Misaligned { address, reason });
    }
    Ok(Segment {
        gva: Gva(gva),
        gpa: Gpa(gpa),
        size: load.p_memsz,
        file,
        permissions: Permissions { write: load.is_write(), execute: load.is_executable() },
    })
}

/// No two segments share a byte, virtual or physical; those that share a virtual page share
/// the physical one.
fn check_overlap(segments: &[Segment]) -> Result<(), ImageError> {
    let mut sorted: Vec<&Segment> = segments.iter().collect();
    sorted.sort_by_key(|segment| segment.gpa);
    for pair in sorted.windows(2) {
        if pair[1].gpa.0 < pair[0].physical_range().end {
            return Err(ImageError::Overlap { first: pair[0].gva.0, second: pair[1].gva.0 });
        }
    }
    sorted.sort_by_key(|segment| segment.gva);
    for pair in sorted.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if second.gva.0 < first.virtual_range().end {
            return Err(ImageError::Overlap { first: first.gva.0, second: second.gva.0 });
        }
        let share_page = (first.virtual_range().end - 1) / PAGE == second.gva.0 / PAGE;
        let distance = |s: &Segment| s.gva.0.wrapping_sub(s.gpa.0);
        if share_page && distance(first) != distance(second) {
            return Err(ImageError::Misaligned {
                address: second.gva.0,
                reason: "it shares a virtual page with another segment, but not the physical one",
            });
        }
    }
    Ok(())
}

/// The entry is code. `claimed` is what the file says, which is what its author knows.
fn check_entry(segments: &[Segment], entry: Gva, claimed: u64) -> Result<(), ImageError> {
    // A shared library has no entry, and its first segment is where 0 would be moved to.
    if claimed == 0 && entry.0 != 0 {
        return Err(ImageError::EntryOutside { entry: claimed });
    }
    match segments.iter().find(|segment| segment.virtual_range().contains(&entry.0)) {
        None => Err(ImageError::EntryOutside { entry: claimed }),
        Some(segment) if !segment.permissions.execute => {
            Err(ImageError::EntryNotExecutable { entry: claimed })
        }
        Some(_) => Ok(()),
    }
}
