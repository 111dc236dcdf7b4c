//! The debug information, once it is known to be no more work than it looks like.
//!
//! DWARF is a small language of references: a file of some kilobytes can ask for gigabytes of
//! lines and ranges, or nest deeper than any stack. What is asked for is counted beforehand, at a
//! cost that grows with the file alone, and too much is refused.

use addr2line::Context;
use gimli::{AttributeValue, EndianSlice, LittleEndian, Reader as _, Section as _, SectionId};
use portcall::sections::Sections;

pub(crate) type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// The most bytes of debug information in all.
const MAX_BYTES: usize = 128 << 20;
/// The deepest that functions and blocks may nest: addr2line goes down by recursion.
const MAX_DEPTH: isize = 200;
/// The most bytes of line programs, each unit's counted. A row of a program is some 32 bytes.
const MAX_LINES: usize = 64 << 20;
/// How often that may be the bytes that there are, beyond a MiB: compilers give each unit a
/// program of its own.
const MAX_SHARED: usize = 4;
/// The most files that line programs name, each unit's counted; parsed, they take some 100 bytes.
const MAX_FILES: usize = 1 << 20;
/// The most bytes of their paths, each unit's counted: a path is put together from three names,
/// which may be shared by all.
const MAX_PATHS: usize = 64 << 20;
/// The most bytes of abbreviations, each unit's counted; parsed, they take several times that.
const MAX_ABBREVIATIONS: usize = 32 << 20;
/// The most address ranges, each entry's counted.
const MAX_RANGES: usize = 2 << 20;

const NONE: &str = "it has no debug information; build it with -g, or debug = \"line-tables-only\"";
const COMPRESSED: &str = "its debug information is compressed, which is not read here";
const DAMAGED: &str = "its debug information is damaged";
pub(crate) const TOO_MUCH: &str =
    "its debug information asks for more work than any compiler's would";

/// Debug information to look addresses up in, or why there is none.
pub(crate) fn context<'a>(sections: &Sections<'a>) -> Result<Context<Reader<'a>>, &'static str> {
    Context::from_dwarf(bounded(sections)?).map_err(|_| DAMAGED)
}

/// Debug information that asks for no more work than it looks like, or why there is none.
pub(crate) fn bounded<'a>(
    sections: &Sections<'a>,
) -> Result<gimli::Dwarf<Reader<'a>>, &'static str> {
    let section = |id: SectionId| sections.bytes(id.name()).unwrap_or_default();
    if section(SectionId::DebugLine).is_empty() {
        return Err(if sections.any_compressed() { COMPRESSED } else { NONE });
    }
    let all = [
        SectionId::DebugInfo,
        SectionId::DebugLine,
        SectionId::DebugRngLists,
        SectionId::DebugRanges,
    ];
    if all.into_iter().map(|id| section(id).len()).sum::<usize>() > MAX_BYTES {
        return Err(TOO_MUCH);
    }
    let load = |id| Ok::<_, gimli::Error>(EndianSlice::new(section(id), LittleEndian));
    let dwarf = gimli::Dwarf::load(load).map_err(|_| DAMAGED)?;
    match is_bounded(&dwarf) {
        Ok(true) => Ok(dwarf),
        Ok(false) => Err(TOO_MUCH),
        Err(_) => Err(DAMAGED),
    }
}

/// Whether looking addresses up stays within bounds.
fn is_bounded(dwarf: &gimli::Dwarf<Reader<'_>>) -> Result<bool, gimli::Error> {
    let (mut ranges, mut abbreviations) = (0usize, 0usize);
    let mut lines = Lines::new(dwarf.debug_line.reader().len());
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        // Units may share a table, or begin anywhere in one; each parses its own.
        let all = dwarf.debug_abbrev.reader().slice();
        let table = all.get(header.debug_abbrev_offset().0..).unwrap_or_default();
        abbreviations = abbreviations.saturating_add(abbreviations_size(table));
        if abbreviations > MAX_ABBREVIATIONS {
            return Ok(false);
        }
        // A unit that cannot be read is skipped by those who look up as well.
        let Ok(unit) = dwarf.unit(header) else { continue };
        if let Some(program) = &unit.line_program
            && !lines.take(dwarf, &unit, program.header())
        {
            return Ok(false);
        }
        let mut entries = unit.entries();
        // As far as it can be read; no further is it looked up.
        while let Ok(Some(entry)) = entries.next_dfs() {
            if entry.depth() > MAX_DEPTH {
                return Ok(false);
            }
            if let Some(value) = entry.attr_value(gimli::DW_AT_ranges) {
                ranges = ranges.saturating_add(count_ranges(dwarf, &unit, value, MAX_RANGES));
            }
            if ranges > MAX_RANGES {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What line programs ask for, each unit's counted.
struct Lines {
    /// The most bytes of programs in this file.
    most: usize,
    programs: usize,
    files: usize,
    paths: usize,
}

impl Lines {
    const fn new(section: usize) -> Self {
        let shared = section.saturating_mul(MAX_SHARED).saturating_add(1 << 20);
        let most = if shared < MAX_LINES { shared } else { MAX_LINES };
        Self { most, programs: 0, files: 0, paths: 0 }
    }

    /// Counts a unit's; whether that is still within bounds.
    fn take<'a>(
        &mut self,
        dwarf: &gimli::Dwarf<Reader<'a>>,
        unit: &gimli::Unit<Reader<'a>>,
        header: &gimli::LineProgramHeader<Reader<'a>>,
    ) -> bool {
        self.programs = self.programs.saturating_add(header.raw_program_buf().len());
        self.files = self.files.saturating_add(header.file_names().len());
        if self.programs > self.most || self.files > MAX_FILES {
            return false;
        }
        let length =
            |value| dwarf.attr_string(unit, value).map_or(0, |text: Reader<'_>| text.len());
        let folder = unit.comp_dir.map_or(0, |folder| folder.len());
        // To find a name's end takes a look at all of it, so what was looked at is what counts.
        header.file_names().iter().all(|file| {
            let directory = file.directory(header).map_or(0, length);
            let path = folder + directory + length(file.path_name());
            self.paths = self.paths.saturating_add(path);
            self.paths <= MAX_PATHS
        })
    }
}

/// Bytes from the start of a table of abbreviations to its end (DWARF 5, 7.5.3), as far as it can
/// be read.
fn abbreviations_size(table: &[u8]) -> usize {
    let mut table = EndianSlice::new(table, LittleEndian);
    let whole = table.len();
    let mut declaration = || -> gimli::Result<bool> {
        if table.read_uleb128()? == 0 {
            return Ok(false);
        }
        table.read_uleb128()?;
        table.read_u8()?;
        loop {
            let (name, form) = (table.read_uleb128()?, table.read_uleb128()?);
            if form == u64::from(gimli::DW_FORM_implicit_const.0) {
                table.read_sleb128()?;
            }
            if (name, form) == (0, 0) {
                return Ok(true);
            }
        }
    };
    while declaration().is_ok_and(|another| another) {}
    whole - table.len()
}

/// The entries of a list of ranges, counted up to `most`.
fn count_ranges<'a>(
    dwarf: &gimli::Dwarf<Reader<'a>>,
    unit: &gimli::Unit<Reader<'a>>,
    value: AttributeValue<Reader<'a>>,
    most: usize,
) -> usize {
    let Ok(Some(mut list)) = dwarf.attr_ranges(unit, value) else { return 0 };
    let mut count = 0;
    while count <= most && matches!(list.next(), Ok(Some(_))) {
        count += 1;
    }
    count
}
