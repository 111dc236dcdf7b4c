//! Writes small ELF files: what the targets and their seeds are made of.

/// A segment: a program header's fields, and its bytes.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// PT_*.
    pub kind: u32,
    /// PF_*.
    pub flags: u32,
    /// p_vaddr, and p_paddr.
    pub address: u64,
    /// p_memsz is so much more than the bytes.
    pub zeros: u64,
    /// p_align.
    pub align: u64,
    /// Its bytes in the file.
    pub bytes: Vec<u8>,
}

/// A section: its name, its sh_type, its address and its bytes.
pub type Section<'s> = (&'s str, u32, u64, &'s [u8]);

/// PT_LOAD, PT_DYNAMIC and PT_NOTE.
pub const LOAD: u32 = 1;
/// PT_DYNAMIC.
pub const DYNAMIC: u32 = 2;
/// PT_NOTE.
pub const NOTE: u32 = 4;

/// Read and execute.
pub const RX: u32 = 5;
/// Read and write.
pub const RW: u32 = 6;

/// SHT_PROGBITS.
pub const PROGBITS: u32 = 1;
/// SHT_SYMTAB; its names are in the section behind it.
pub const SYMTAB: u32 = 2;
/// SHT_STRTAB.
pub const STRTAB: u32 = 3;

/// ET_EXEC.
pub const EXEC: u16 = 2;
/// ET_DYN.
pub const DYN: u16 = 3;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// An ELF file of this kind (ET_*), with everything one behind the other and nothing aligned.
#[must_use]
pub fn elf(kind: u16, entry: u64, segments: &[Segment], sections: &[Section<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    let start = (HEADER + PROGRAM_HEADER * segments.len()) as u64;
    let mut headers = Vec::new();
    for segment in segments {
        // p_vaddr and p_offset agree modulo p_align.
        while (start + body.len() as u64) % segment.align.max(1)
            != segment.address % segment.align.max(1)
        {
            body.push(0);
        }
        headers.extend(segment.kind.to_le_bytes());
        headers.extend(segment.flags.to_le_bytes());
        let size = segment.bytes.len() as u64;
        let offset = start + body.len() as u64;
        let address = segment.address;
        for word in [offset, address, address, size, size + segment.zeros, segment.align] {
            headers.extend(word.to_le_bytes());
        }
        body.extend(&segment.bytes);
    }
    let (table, count) = section_table(start, &mut body, sections);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(kind.to_le_bytes());
    // EM_X86_64
    file.extend(62_u16.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for word in [entry, HEADER as u64, if count == 0 { 0 } else { start + body.len() as u64 }] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    let few = u16::try_from(segments.len()).unwrap_or(u16::MAX);
    for half in [64, 56, few, 64, count, count.saturating_sub(1)] {
        file.extend(half.to_le_bytes());
    }
    file.extend(headers);
    file.extend(body);
    file.extend(table);
    file
}

/// The sections' bytes go behind the body; comes back with their headers, those of the null
/// section and of the names among them, and how many they are.
fn section_table(start: u64, body: &mut Vec<u8>, sections: &[Section<'_>]) -> (Vec<u8>, u16) {
    if sections.is_empty() {
        return (Vec::new(), 0);
    }
    let mut table = vec![0; 64];
    let mut names = vec![0];
    let mut header = |name: usize, kind: u32, address: u64, offset: u64, size: u64, link: u32| {
        let name = u32::try_from(name).unwrap_or(0);
        table.extend(name.to_le_bytes());
        table.extend(kind.to_le_bytes());
        // SHF_ALLOC for what has an address.
        for word in [if address > 0 { 2 } else { 0 }, address, offset, size] {
            table.extend(word.to_le_bytes());
        }
        table.extend(link.to_le_bytes());
        table.extend(0_u32.to_le_bytes());
        let entry: u64 = if kind == SYMTAB { 24 } else { 0 };
        for word in [1, entry] {
            table.extend(word.to_le_bytes());
        }
    };
    for (number, (name, kind, address, bytes)) in (1_u32..).zip(sections) {
        let link = if *kind == SYMTAB { number + 1 } else { 0 };
        let offset = start + body.len() as u64;
        header(names.len(), *kind, *address, offset, bytes.len() as u64, link);
        names.extend(name.bytes());
        names.push(0);
        body.extend_from_slice(bytes);
    }
    let at = names.len();
    names.extend(b".shstrtab\0");
    header(at, STRTAB, 0, start + body.len() as u64, names.len() as u64, 0);
    body.extend(names);
    (table, u16::try_from(sections.len() + 2).unwrap_or(0))
}

/// An ELF note of the contract.
#[must_use]
pub fn note(kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [9, u32::try_from(descriptor.len()).unwrap_or(0), kind] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Portcall\0\0\0\0");
    note.extend(descriptor);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

#[cfg(test)]
mod tests {
    use super::{EXEC, LOAD, PROGBITS, RX, STRTAB, SYMTAB, Segment, elf};
    use portcall::{Image, layout::MIB};

    #[test]
    fn what_is_written_is_read_back() {
        let code = Segment {
            kind: LOAD,
            flags: RX,
            address: MIB,
            align: 4096,
            bytes: vec![0xf4],
            zeros: 3,
        };
        let mut symbols = vec![0; 24];
        // st_name, st_info, st_other, st_shndx, st_value, st_size
        symbols.extend(1_u32.to_le_bytes());
        symbols.extend([2, 0, 1, 0]);
        symbols.extend(MIB.to_le_bytes());
        symbols.extend(1_u64.to_le_bytes());
        let sections: [super::Section<'_>; 3] = [
            (".text", PROGBITS, MIB, &[0xf4]),
            (".symtab", SYMTAB, 0, &symbols),
            (".strtab", STRTAB, 0, b"\0main\0"),
        ];
        let file = elf(EXEC, MIB, &[code], &sections);
        let image = Image::parse(&file).expect("right");
        assert_eq!(image.segments()[0].size, 4);
        assert_eq!(image.symbol("main").expect("there").address.0, MIB);
    }
}
