//! From addresses to names and lines: the image's symbols and DWARF.

use addr2line::Context;
use gimli::{EndianSlice, LittleEndian, SectionId};
use goblin::elf::section_header::{SHF_ALLOC, SHF_COMPRESSED, SHT_NOBITS};
use goblin::elf::{Elf, sym};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// The most inlined functions that are told of one address.
const MAX_INLINED: usize = 32;

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, as the compiler saw it.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 0 if it is not known.
    pub column: u32,
}

/// One function on the way, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The address that was looked up.
    pub address: u64,
    /// The function's name, demangled.
    pub function: Option<String>,
    /// How far behind the function's first byte the address is, where only symbols are known.
    pub offset: Option<u64>,
    /// Where in the source.
    pub source: Option<Source>,
    /// Whether it was inlined into the next one.
    pub inlined: bool,
}

/// What the image tells about its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DebugInfo {
    /// Lines and functions.
    Lines,
    /// Names only, and why no lines.
    Symbols(&'static str),
    /// Nothing, and why.
    Nothing(&'static str),
}

/// An image's symbols and debug information, as far as they can be read.
pub struct Symbols<'a> {
    bytes: &'a [u8],
    elf: Option<Elf<'a>>,
    bias: u64,
    lines: Option<Context<Reader<'a>>>,
    debug_info: DebugInfo,
}

impl<'a> Symbols<'a> {
    /// Reads the whole ELF file's bytes; `bias` is what was added to its addresses. Whatever is
    /// wrong with the file, this gives what is there.
    #[must_use]
    pub fn new(bytes: &'a [u8], bias: u64) -> Self {
        let Ok(elf) = Elf::parse(bytes) else {
            let debug_info = DebugInfo::Nothing("the image is no ELF file with readable sections");
            return Self { bytes, elf: None, bias, lines: None, debug_info };
        };
        let mut symbols =
            Self { bytes, elf: Some(elf), bias, lines: None, debug_info: DebugInfo::Lines };
        let load = |id: SectionId| Ok::<_, gimli::Error>(symbols.dwarf(id));
        let lines = gimli::Dwarf::load(load).and_then(Context::from_dwarf).ok();
        symbols.debug_info = symbols.judge(lines.is_some());
        symbols.lines = lines;
        symbols
    }

    fn judge(&self, readable: bool) -> DebugInfo {
        let sections = || self.elf.iter().flat_map(|elf| &elf.section_headers);
        let compressed = || sections().any(|h| h.sh_flags & u64::from(SHF_COMPRESSED) != 0);
        let why = if self.dwarf(SectionId::DebugLine).is_empty() {
            if compressed() {
                "its debug information is compressed, which is not read here"
            } else {
                "it has no debug information; build it with -g, or debug = \"line-tables-only\""
            }
        } else if !readable {
            "its debug information is damaged"
        } else {
            return DebugInfo::Lines;
        };
        let named = self.elf.as_ref().is_some_and(|elf| !elf.syms.is_empty());
        if named { DebugInfo::Symbols(why) } else { DebugInfo::Nothing(why) }
    }

    /// What the image tells about its code.
    #[must_use]
    pub const fn debug_info(&self) -> &DebugInfo {
        &self.debug_info
    }

    fn dwarf(&self, id: SectionId) -> Reader<'a> {
        EndianSlice::new(self.section(id.name()).unwrap_or_default(), LittleEndian)
    }

    /// `.debug_frame`, for unwinding.
    pub(crate) fn debug_frame(&self) -> &'a [u8] {
        self.section(".debug_frame").unwrap_or_default()
    }

    pub(crate) const fn bias(&self) -> u64 {
        self.bias
    }

    /// A section's bytes by its name, if they are in the file as they are.
    fn section(&self, name: &str) -> Option<&'a [u8]> {
        let elf = self.elf.as_ref()?;
        let header = elf
            .section_headers
            .iter()
            .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(name))?;
        if header.sh_type == SHT_NOBITS || header.sh_flags & u64::from(SHF_COMPRESSED) != 0 {
            return None;
        }
        let start = usize::try_from(header.sh_offset).ok()?;
        let size = usize::try_from(header.sh_size).ok()?;
        self.bytes.get(start..start.checked_add(size)?)
    }

    /// The name of the section that an address is in.
    #[must_use]
    pub fn section_at(&self, address: u64) -> Option<&str> {
        let address = address.wrapping_sub(self.bias);
        let elf = self.elf.as_ref()?;
        let header = elf.section_headers.iter().find(|header| {
            header.sh_flags & u64::from(SHF_ALLOC) != 0
                && address.checked_sub(header.sh_addr).is_some_and(|into| into < header.sh_size)
        })?;
        elf.shdr_strtab.get_at(header.sh_name)
    }

    /// The symbol that an address is in, demangled, and how far.
    #[must_use]
    pub fn symbol_at(&self, address: u64) -> Option<(String, u64)> {
        let address = address.wrapping_sub(self.bias);
        let elf = self.elf.as_ref()?;
        let into = |symbol: &sym::Sym| {
            let into = address.checked_sub(symbol.st_value)?;
            // A label of an assembly file has no size; it is taken for what precedes the next.
            (into < symbol.st_size || symbol.st_size == 0 && into < 0x1000).then_some(into)
        };
        let defined = |symbol: &sym::Sym| {
            symbol.st_shndx != 0
                && matches!(symbol.st_type(), sym::STT_FUNC | sym::STT_OBJECT | sym::STT_NOTYPE)
        };
        let (symbol, into) = elf
            .syms
            .iter()
            .filter(defined)
            .filter_map(|symbol| into(&symbol).map(|into| (symbol, into)))
            .min_by_key(|(symbol, into)| (symbol.st_size == 0, *into))?;
        let name = elf.strtab.get_at(symbol.st_name).filter(|name| !name.is_empty())?;
        Some((demangled(name.into()), into))
    }

    /// The functions at an address, those inlined there first. `call` says that the address is
    /// one returned to, so that the call before it is meant.
    #[must_use]
    pub fn frames(&self, address: u64, call: bool) -> Vec<Frame> {
        let probe = address.wrapping_sub(self.bias).wrapping_sub(u64::from(call));
        let mut frames = self.by_lines(address, probe).unwrap_or_default();
        let symbol = self.symbol_at(address.wrapping_sub(u64::from(call)));
        match (frames.last_mut(), symbol) {
            // Line tables know functions by their last name, the symbol by its whole path.
            (Some(outermost), Some((name, _))) => outermost.function = Some(name),
            (Some(_), None) => {}
            (None, symbol) => {
                let (function, offset) =
                    symbol.map(|(name, into)| (name, into + u64::from(call))).unzip();
                frames.push(Frame { address, function, offset, source: None, inlined: false });
            }
        }
        frames
    }

    fn by_lines(&self, address: u64, probe: u64) -> Option<Vec<Frame>> {
        let mut found = self.lines.as_ref()?.find_frames(probe).skip_all_loads().ok()?;
        let mut frames = Vec::new();
        while frames.len() < MAX_INLINED {
            let Ok(Some(frame)) = found.next() else { break };
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let source = frame.location.and_then(|at| {
                let (file, line) = (PathBuf::from(at.file?), at.line?);
                Some(Source { file, line, column: at.column.unwrap_or(0) })
            });
            frames.push(Frame {
                address,
                function: name.map(demangled),
                offset: None,
                source,
                inlined: true,
            });
        }
        frames.last_mut()?.inlined = false;
        Some(frames)
    }
}

/// A name as its author wrote it; Rust's names without their hashes.
fn demangled(name: Cow<'_, str>) -> String {
    match rustc_demangle::try_demangle(&name) {
        Ok(demangled) => format!("{demangled:#}"),
        Err(_) => name.into_owned(),
    }
}

impl Source {
    /// Whether it is in the toolchain's own library, under the path that it was built at.
    #[must_use]
    pub fn is_toolchain(&self) -> bool {
        self.file.starts_with("/rustc")
    }

    /// The path as a person in the current directory would write it.
    #[must_use]
    pub fn shown(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        let mut file = self.file.strip_prefix(here).unwrap_or(&self.file).to_owned();
        if self.is_toolchain() {
            // Without /rustc/HASH.
            file = self.file.iter().skip(3).collect();
        }
        match self.column {
            0 => format!("{}:{}", file.display(), self.line),
            column => format!("{}:{}:{column}", file.display(), self.line),
        }
    }

    /// The line's text, if the file is there. The path comes from the image, so only a regular
    /// file of reasonable size is read.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        const LARGEST: u64 = 4 << 20;
        let path: &Path = &self.file;
        let metadata = path.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return None;
        }
        let text = std::fs::read(path).ok()?;
        let line = usize::try_from(self.line).ok()?.checked_sub(1)?;
        let bytes = text.split(|byte| *byte == b'\n').nth(line)?;
        Some(String::from_utf8_lossy(bytes).trim_end().to_owned())
    }
}
