//! An ELF file's sections and symbols: what a run does not need, but people do.
//!
//! Read by hand from goblin's tables, since `goblin::elf::Elf` indexes every string table whole:
//! a hostile file of 200 MB makes that several gigabytes. Whatever is wrong with a file, this
//! gives what is there; nothing is copied.

use crate::elf::CONTEXT;
use goblin::elf::section_header::{
    SHF_COMPRESSED, SHN_UNDEF, SHT_NOBITS, SHT_SYMTAB, SectionHeader,
};
use goblin::elf::sym::{Sym, Symtab};

/// A section's header, with its name.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Its name, as the bytes in the file.
    pub name: &'a [u8],
    /// Its address in memory, without an image's displacement; 0 where it is not loaded.
    pub address: u64,
    /// Its bytes in memory.
    pub size: u64,
    /// SHF_*.
    pub flags: u64,
    header: SectionHeader,
}

/// The sections of an ELF file.
#[derive(Clone, Debug, Default)]
pub struct Sections<'a> {
    file: &'a [u8],
    sections: Vec<Section<'a>>,
}

/// The most bytes of a name that are read: a million symbols may share one as long as their file.
pub const LONGEST_NAME: usize = 4096;

/// The bytes up to the first NUL, or as many as a name may have.
fn name_at(strings: &[u8], offset: usize) -> &[u8] {
    let rest = strings.get(offset..).unwrap_or_default();
    let rest = &rest[..rest.len().min(LONGEST_NAME)];
    rest.split(|byte| *byte == 0).next().unwrap_or_default()
}

impl<'a> Sections<'a> {
    /// Reads the section headers; none where they cannot be read.
    #[must_use]
    pub fn parse(file: &'a [u8]) -> Self {
        Self::try_parse(file).unwrap_or_default()
    }

    fn try_parse(file: &'a [u8]) -> Option<Self> {
        let header = goblin::elf::Elf::parse_header(file).ok()?;
        let (count, entry) = (usize::from(header.e_shnum), SectionHeader::size(CONTEXT));
        let start = usize::try_from(header.e_shoff).ok()?;
        // All of the table, or none of it.
        file.get(start..start.checked_add(count.checked_mul(entry)?)?)?;
        if usize::from(header.e_shentsize) != entry || count == 0 {
            return None;
        }
        let headers = SectionHeader::parse(file, start, count, CONTEXT).ok()?;
        let names = headers.get(usize::from(header.e_shstrndx)).and_then(|h| bytes_of(file, h));
        let sections = headers.iter().map(|header| Section {
            name: name_at(names.unwrap_or_default(), header.sh_name),
            address: header.sh_addr,
            size: header.sh_size,
            flags: header.sh_flags,
            header: header.clone(),
        });
        Some(Self { file, sections: sections.collect() })
    }

    /// All sections, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Section<'a>> {
        self.sections.iter()
    }

    /// The bytes of the first section of that name, if they are in the file as they are.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        let section = self.sections.iter().find(|section| section.name == name.as_bytes())?;
        bytes_of(self.file, &section.header)
    }

    /// Whether a section is compressed (SHF_COMPRESSED).
    #[must_use]
    pub fn any_compressed(&self) -> bool {
        self.sections.iter().any(|section| section.flags & u64::from(SHF_COMPRESSED) != 0)
    }

    /// The symbols that are defined, with their names as the bytes in the file, up to
    /// [`LONGEST_NAME`].
    pub fn symbols(&self) -> impl Iterator<Item = (&'a [u8], Sym)> {
        let table = self.sections.iter().find(|section| section.header.sh_type == SHT_SYMTAB);
        let strings = table
            .and_then(|table| self.sections.get(usize::try_from(table.header.sh_link).ok()?))
            .and_then(|strings| bytes_of(self.file, &strings.header))
            .unwrap_or_default();
        let symbols = table.and_then(|table| {
            let bytes = bytes_of(self.file, &table.header)?;
            Symtab::parse(bytes, 0, bytes.len() / Sym::size(CONTEXT.container), CONTEXT).ok()
        });
        let defined = |symbol: &Sym| symbol.st_shndx != usize::try_from(SHN_UNDEF).unwrap_or(0);
        let symbols = symbols.unwrap_or_default();
        let symbols = (0..symbols.len()).filter_map(move |i| symbols.get(i));
        symbols.filter(defined).map(move |it| (name_at(strings, it.st_name), it))
    }
}

/// What a section has in the file, uncompressed.
fn bytes_of<'a>(file: &'a [u8], header: &SectionHeader) -> Option<&'a [u8]> {
    if header.sh_type == SHT_NOBITS || header.sh_flags & u64::from(SHF_COMPRESSED) != 0 {
        return None;
    }
    let start = usize::try_from(header.sh_offset).ok()?;
    file.get(start..start.checked_add(usize::try_from(header.sh_size).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_NAME, name_at};

    #[test]
    fn a_name_ends_with_its_nul_its_table_or_at_the_longest() {
        let long = [b'a'; 2 * LONGEST_NAME];
        assert_eq!(name_at(b"one\0two\0", 4), b"two");
        assert_eq!(name_at(b"one", 1), b"ne");
        assert_eq!(name_at(b"one", 4), b"");
        assert_eq!(name_at(&long, 0).len(), LONGEST_NAME);
        assert_eq!(name_at(&long, long.len() - 1), b"a");
    }
}
