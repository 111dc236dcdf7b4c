//! Where breakpoints are to be set, and what each of them says: from the line tables.

use super::{Coverage, starts};
use crate::dwarf::{self, Reader};
use crate::symbols::demangled;
use goblin::elf::sym;
use portcall::Image;
use portcall::sections::Sections;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// The most places that are looked at; more is no compiler's.
const MAX_PLACES: usize = 1 << 20;

/// The most lines that begin at one of them.
const MAX_LINES: usize = 64;

/// The most functions.
const MAX_FUNCTIONS: usize = 1 << 18;

/// All places of an image at which a statement begins.
#[derive(Debug, Default)]
pub struct Plan {
    files: Vec<PathBuf>,
    /// By address: files and lines, in the table's order.
    places: BTreeMap<u64, Vec<(u32, u32)>>,
    /// By address: a file, a line, and the name of the function that begins there.
    functions: BTreeMap<u64, (u32, u32, String)>,
    left_out: usize,
}

impl Plan {
    /// The plan for an image: `elf` is the whole file that it was read from, and `wanted` says
    /// of which sources. Their paths are as the compiler had them, without `.` and `..`.
    ///
    /// # Errors
    /// There are no line tables, or they cannot be read: why, and what to do.
    pub fn of(
        image: &Image<'_>,
        elf: &[u8],
        wanted: impl Fn(&Path) -> bool,
    ) -> Result<Self, &'static str> {
        let sections = Sections::parse(elf);
        let dwarf = dwarf::bounded(&sections)?;
        let code: Vec<Range<u64>> = (image.segments().iter())
            .filter(|it| it.permissions.execute)
            .map(|it| it.virtual_range())
            .collect();
        let mut reading = Reading { plan: Self::default(), numbers: HashMap::new(), wanted, code };
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            let Ok(unit) = dwarf.unit(header) else { continue };
            reading.unit(&dwarf, &unit, image.bias())?;
        }
        let mut plan = reading.plan;
        plan.leave_out(image, &sections);
        plan.name_functions(&sections, image.bias());
        Ok(plan)
    }

    /// How many addresses begin a statement by the line tables, and no instruction.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// Where breakpoints are to be.
    pub fn addresses(&self) -> impl Iterator<Item = u64> {
        self.places.keys().copied()
    }

    /// A breakpoint within an instruction would make another of it.
    fn leave_out(&mut self, image: &Image<'_>, sections: &Sections<'_>) {
        let starts = starts::of(image, sections, self.places.keys().copied());
        let before = self.places.len();
        self.places.retain(|address, _| starts.contains(address));
        self.left_out = before - self.places.len();
    }

    /// A function is where the first line is that begins in it.
    fn name_functions(&mut self, sections: &Sections<'_>, bias: u64) {
        let functions = sections.symbols().filter(|(_, it)| it.st_type() == sym::STT_FUNC);
        for (name, symbol) in functions.take(MAX_FUNCTIONS) {
            let start = symbol.st_value.wrapping_add(bias);
            let end = start.saturating_add(symbol.st_size.max(1));
            // The function's own line comes first; others were inlined.
            if let Some((address, lines)) = self.places.range(start..end).next()
                && let Some((file, line)) = lines.first()
            {
                let name = demangled(name).chars().map(portcall::printable).collect();
                self.functions.insert(*address, (*file, *line, name));
            }
        }
    }

    /// What was reached, where `reached` says so of an address; `None` where nobody looked.
    pub(super) fn coverage(&self, reached: impl Fn(u64) -> Option<bool>) -> Coverage {
        let mut coverage = Coverage::default();
        let looked_at = self.places.iter().filter(|(address, _)| reached(**address).is_some());
        // An optimiser puts lines where another one's instructions are: that these ran says nothing
        // of a line that has instructions of its own.
        let own: HashSet<_> =
            looked_at.filter(|(_, lines)| lines.len() == 1).map(|(_, lines)| lines[0]).collect();
        for (address, lines) in &self.places {
            let Some(reached) = reached(*address) else { continue };
            let is_shared = lines.len() > 1;
            for (number, line) in lines.iter().filter(|it| !is_shared || !own.contains(it)) {
                let Some(path) = self.path(*number) else { continue };
                let file = coverage.files.entry(path.clone()).or_default();
                *file.lines.entry(*line).or_default() |= reached;
            }
        }
        for (address, (number, line, name)) in &self.functions {
            let Some(called) = reached(*address) else { continue };
            let Some(path) = self.path(*number) else { continue };
            let file = coverage.files.entry(path.clone()).or_default();
            *file.functions.entry((*line, name.clone())).or_default() |= called;
        }
        coverage
    }

    fn path(&self, number: u32) -> Option<&PathBuf> {
        self.files.get(usize::try_from(number).ok()?)
    }
}

/// A plan in the making.
struct Reading<F> {
    plan: Plan,
    /// Of sources that are wanted.
    numbers: HashMap<PathBuf, u32>,
    wanted: F,
    code: Vec<Range<u64>>,
}

impl<F: Fn(&Path) -> bool> Reading<F> {
    /// Takes the rows of a unit's line program (DWARF 5, 6.2).
    fn unit<'a>(
        &mut self,
        dwarf: &gimli::Dwarf<Reader<'a>>,
        unit: &gimli::Unit<Reader<'a>>,
        bias: u64,
    ) -> Result<(), &'static str> {
        let Some(program) = unit.line_program.clone() else { return Ok(()) };
        // By the number that the program has for them.
        let mut files: HashMap<u64, Option<u32>> = HashMap::new();
        let mut rows = program.rows();
        // As far as it can be read.
        while let Ok(Some((header, row))) = rows.next_row() {
            let address = row.address().wrapping_add(bias);
            let (true, false, Some(line)) = (row.is_stmt(), row.end_sequence(), row.line()) else {
                continue;
            };
            // The linker leaves tables of code that it has thrown away, at addresses of nobody's.
            if !self.code.iter().any(|range| range.contains(&address)) {
                continue;
            }
            let Ok(line) = u32::try_from(line.get()) else { continue };
            let number = files.entry(row.file_index()).or_insert_with(|| {
                let file = row.file(header)?;
                self.number(&path_of(dwarf, unit, header, file)?)
            });
            if let Some(number) = *number {
                let lines = self.plan.places.entry(address).or_default();
                if lines.len() < MAX_LINES && !lines.contains(&(number, line)) {
                    lines.push((number, line));
                }
            }
            if self.plan.places.len() > MAX_PLACES {
                return Err(dwarf::TOO_MUCH);
            }
        }
        Ok(())
    }

    /// The number of a source that is wanted.
    fn number(&mut self, path: &Path) -> Option<u32> {
        if let Some(number) = self.numbers.get(path) {
            return Some(*number);
        }
        if !(self.wanted)(path) {
            return None;
        }
        let number = u32::try_from(self.plan.files.len()).ok()?;
        self.plan.files.push(path.to_owned());
        self.numbers.insert(path.to_owned(), number);
        Some(number)
    }
}

/// The path of a source, put together from the three names that it may have.
fn path_of<'a>(
    dwarf: &gimli::Dwarf<Reader<'a>>,
    unit: &gimli::Unit<Reader<'a>>,
    header: &gimli::LineProgramHeader<Reader<'a>>,
    file: &gimli::FileEntry<Reader<'a>>,
) -> Option<PathBuf> {
    let text = |value| {
        let text: Reader<'a> = dwarf.attr_string(unit, value).ok()?;
        Some(String::from_utf8_lossy(text.slice()).into_owned())
    };
    let mut path = PathBuf::new();
    if let Some(folder) = unit.comp_dir {
        path.push(&*String::from_utf8_lossy(folder.slice()));
    }
    // 0 is the directory of the unit, which DWARF 5 has in the table as well.
    if file.directory_index() != 0
        && let Some(folder) = file.directory(header).and_then(text)
    {
        path.push(folder);
    }
    path.push(text(file.path_name())?);
    Some(plain(&path))
}

/// The same path without `.` and `..`; names alone are looked at.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{Plan, plain};
    use std::path::Path;

    #[test]
    fn an_address_of_several_lines_says_nothing_of_one_that_has_its_own() {
        let places = [(1, vec![(0, 10), (0, 11), (0, 12)]), (2, vec![(0, 10)]), (3, vec![(0, 11)])];
        let plan = Plan { files: vec!["a".into()], places: places.into(), ..Plan::default() };
        let found = plan.coverage(|address| Some(address != 2));
        let lines = &found.files[Path::new("a")].lines;
        assert_eq!(*lines, [(10, false), (11, true), (12, true)].into());
    }

    #[test]
    fn a_path_cannot_say_that_it_is_where_it_is_not() {
        assert_eq!(plain(Path::new("/work/./src/../../etc/passwd")), Path::new("/etc/passwd"));
        assert_eq!(plain(Path::new("/../..")), Path::new("/"));
        assert_eq!(plain(Path::new("a/b/../c.rs")), Path::new("a/c.rs"));
    }
}
