//! From addresses to names and lines: the image's symbols and DWARF.

use crate::dwarf::{self, Reader};
use addr2line::Context;
use goblin::elf::section_header::SHF_ALLOC;
use goblin::elf::sym;
use portcall::sections::{LONGEST_NAME, Sections};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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

/// The most symbols that are looked at; the rest of a larger table is left out.
const MAX_SYMBOLS: usize = 1 << 20;

/// How far behind a symbol without a size an address may be: a label in an assembly file.
const LABEL_REACH: u64 = 0x1000;

/// An image's symbols and debug information, as far as they can be read.
pub struct Symbols<'a> {
    sections: Sections<'a>,
    /// Functions, objects and labels, by address: start, size, name.
    symbols: Vec<(u64, u64, &'a [u8])>,
    bias: u64,
    lines: Option<Context<Reader<'a>>>,
    debug_info: DebugInfo,
}

impl<'a> Symbols<'a> {
    /// Reads the whole ELF file's bytes; `bias` is what was added to its addresses. Whatever is
    /// wrong with the file, this gives what is there.
    #[must_use]
    pub fn new(bytes: &'a [u8], bias: u64) -> Self {
        let sections = Sections::parse(bytes);
        let named = |symbol: &sym::Sym| {
            matches!(symbol.st_type(), sym::STT_FUNC | sym::STT_OBJECT | sym::STT_NOTYPE)
        };
        let mut symbols: Vec<(u64, u64, &[u8])> = sections
            .symbols()
            .filter(|(name, symbol)| !name.is_empty() && named(symbol))
            .take(MAX_SYMBOLS)
            .map(|(name, symbol)| (symbol.st_value, symbol.st_size, name))
            .collect();
        // Not by their names, which could be long and all the same.
        symbols.sort_by_key(|(start, size, _)| (*start, *size));
        let lines = dwarf::context(&sections);
        let debug_info = match (&lines, symbols.is_empty()) {
            (Ok(_), _) => DebugInfo::Lines,
            (Err(why), false) => DebugInfo::Symbols(why),
            (Err(why), true) => DebugInfo::Nothing(why),
        };
        Self { sections, symbols, bias, lines: lines.ok(), debug_info }
    }

    /// What the image tells about its code.
    #[must_use]
    pub const fn debug_info(&self) -> &DebugInfo {
        &self.debug_info
    }

    pub(crate) const fn sections(&self) -> &Sections<'a> {
        &self.sections
    }

    pub(crate) const fn bias(&self) -> u64 {
        self.bias
    }

    /// The name of the section that an address is in.
    #[must_use]
    pub fn section_at(&self, address: u64) -> Option<String> {
        let address = address.wrapping_sub(self.bias);
        let section = self.sections.iter().find(|section| {
            section.flags & u64::from(SHF_ALLOC) != 0
                && address.checked_sub(section.address).is_some_and(|into| into < section.size)
        })?;
        Some(String::from_utf8_lossy(section.name).into_owned())
    }

    /// Where symbols begin, in order.
    pub(crate) fn starts(&self) -> impl Iterator<Item = u64> {
        self.symbols.iter().map(|(start, ..)| start.wrapping_add(self.bias))
    }

    /// The symbol that an address is in, demangled, and how far.
    #[must_use]
    pub fn symbol_at(&self, address: u64) -> Option<(String, u64)> {
        /// Symbols may stand at one address, or lie in one another; not many.
        const LOOK_BACK: usize = 64;
        let address = address.wrapping_sub(self.bias);
        let behind = self.symbols.partition_point(|(start, ..)| *start <= address);
        let near = &self.symbols[behind.saturating_sub(LOOK_BACK)..behind];
        let holds = |(start, size, _): &&(u64, u64, &[u8])| {
            let into = address - start;
            into < *size || *size == 0 && into < LABEL_REACH
        };
        let (start, _, name) = near
            .iter()
            .rev()
            .filter(holds)
            .min_by_key(|(start, size, _)| (*size == 0, address - start))?;
        Some((demangled(name), address - start))
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
        // The last address of all is nobody's, and addr2line would look for one behind it.
        let lines = self.lines.as_ref().filter(|_| probe != u64::MAX)?;
        let mut found = lines.find_frames(probe).skip_all_loads().ok()?;
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
                function: name.map(|name| demangled(name.as_bytes())),
                offset: None,
                source,
                inlined: true,
            });
        }
        frames.last_mut()?.inlined = false;
        Some(frames)
    }
}

/// A name as its author wrote it; Rust's names without their hashes. No more of it than a person
/// reads: a name may be as long as its file, one in Rust's form make a thousand times its own
/// length, and a backtrace have thousands of them.
pub(crate) fn demangled(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(&name[..name.len().min(LONGEST_NAME)]);
    let mut shown = Bounded(String::new());
    // The error is that there is more.
    let _ = match rustc_demangle::try_demangle(&name) {
        Ok(demangled) => write!(shown, "{demangled:#}"),
        Err(_) => shown.write_str(&name),
    };
    shown.0
}

/// Takes the first of what is written to it.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST_NAME - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
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

    /// The line's text, if the file is there and is source. The path comes from the image, so
    /// nothing else is opened: no device, no pipe, none of the kernel's own files, and no file
    /// that is not called as source is.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        const WIDEST: usize = 200;
        let text = source_text(&self.file)?;
        let line = usize::try_from(self.line).ok()?.checked_sub(1)?;
        let bytes = text.split(|byte| *byte == b'\n').nth(line)?;
        Some(String::from_utf8_lossy(bytes).trim_end().chars().take(WIDEST).collect())
    }
}

/// A whole file of source, with the caution of [`Source::text`].
pub(crate) fn source_text(path: &Path) -> Option<Vec<u8>> {
    const LARGEST: u64 = 4 << 20;
    const SOURCE: [&str; 14] =
        ["rs", "c", "h", "s", "S", "asm", "inc", "cc", "cpp", "cxx", "hpp", "zig", "d", "nim"];
    let extension = path.extension()?.to_str()?;
    if !SOURCE.contains(&extension) {
        return None;
    }
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    // Files of proc and sysfs say that they are empty, whatever they hold.
    if !metadata.is_file() || metadata.len() == 0 || metadata.len() > LARGEST {
        return None;
    }
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    Some(text)
}
