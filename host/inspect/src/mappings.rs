//! All of a guest's address space, from its page tables as they are (SDM vol. 3, 5.5, "4-Level
//! Paging"), with bounds: the guest may have written anything there.

use portcall::address_space::Mapping;
use portcall::segment::Permissions;
use portcall::{Gpa, Memory};
use std::ops::Range;

/// The most tables that are read: twice what the largest guest needs (63 GiB all in pages of
/// 4 KiB take 32 Ki). Tables that lead into each other would take 512^4.
const TABLES_MAX: u32 = 1 << 16;

/// The most mappings that are told apart. An ELF file has room for some 64 Ki (e_phnum).
const MAPPINGS_MAX: usize = 1 << 15;

/// Entries of a table, whatever its level.
pub(crate) type Table = [u64; 512];

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What page tables map to RAM: in order of address, neighbours that are alike joined.
#[derive(Debug)]
pub(crate) struct Mappings {
    pub(crate) found: Vec<Mapping>,
    /// Whether it is all that is mapped, or a bound was reached first.
    pub(crate) complete: bool,
}

/// What the page tables at `cr3` map to these ranges of RAM.
pub(crate) fn of(memory: &Memory, ram: &[Range<u64>], cr3: u64) -> Mappings {
    walk(cr3, ram, |at| {
        let mut bytes = [0; 4096];
        memory.read(at, &mut bytes).ok()?;
        let mut table = [0; 512];
        for (entry, word) in table.iter_mut().zip(bytes.as_chunks().0) {
            *entry = u64::from_le_bytes(*word);
        }
        Some(table)
    })
}

/// The walk itself. `read` gives the table at an address, `None` where there is no RAM.
fn walk(cr3: u64, ram: &[Range<u64>], read: impl Fn(Gpa) -> Option<Table>) -> Mappings {
    let all = Mapping {
        gva: 0,
        gpa: cr3 & ADDRESS,
        size: 1 << 48,
        permissions: Permissions { write: true, execute: true },
        user: true,
    };
    let found = Mappings { found: Vec::new(), complete: true };
    let mut walk = Walk { ram, read, tables_left: TABLES_MAX, mappings: found };
    walk.table(4, &all);
    walk.mappings
}

struct Walk<'a, R> {
    ram: &'a [Range<u64>],
    read: R,
    tables_left: u32,
    mappings: Mappings,
}

impl<R: Fn(Gpa) -> Option<Table>> Walk<'_, R> {
    /// Goes through a table of `level`. It stands at `covers.gpa` and may map the addresses of
    /// `covers` with at most its permissions.
    fn table(&mut self, level: u32, covers: &Mapping) {
        let Some(left) = self.tables_left.checked_sub(1) else {
            self.mappings.complete = false;
            return;
        };
        self.tables_left = left;
        let Some(table) = (self.read)(Gpa(covers.gpa)) else { return };
        let size = covers.size / 512;
        for (entry, i) in table.into_iter().zip(0..).filter(|(entry, _)| entry & PRESENT != 0) {
            let of = covers.permissions;
            let next = Mapping {
                gva: covers.gva + i * size,
                gpa: entry & ADDRESS,
                size,
                permissions: Permissions {
                    write: of.write && entry & WRITABLE != 0,
                    execute: of.execute && entry & NO_EXECUTE == 0,
                },
                user: covers.user && entry & USER != 0,
            };
            if level == 1 || (level < 4 && entry & LARGE != 0) {
                self.page(&next);
            } else {
                self.table(level - 1, &next);
            }
            if !self.mappings.complete {
                return;
            }
        }
    }

    /// A page: as much of it as is RAM.
    fn page(&mut self, page: &Mapping) {
        let gpa = page.gpa & !(page.size - 1);
        // Bits 63 to 48 repeat bit 47.
        let gva = (page.gva ^ 1 << 47).wrapping_sub(1 << 47);
        for ram in self.ram {
            let (start, end) = (gpa.max(ram.start), (gpa + page.size).min(ram.end));
            if start < end {
                let gva = gva + (start - gpa);
                self.push(Mapping { gva, gpa: start, size: end - start, ..*page });
            }
        }
    }

    fn push(&mut self, next: Mapping) {
        let found = &mut self.mappings.found;
        let full = found.len() == MAPPINGS_MAX;
        match found.last_mut() {
            Some(last)
                if last.gva.checked_add(last.size) == Some(next.gva)
                    && last.gpa + last.size == next.gpa
                    && (last.permissions, last.user) == (next.permissions, next.user) =>
            {
                last.size += next.size;
            }
            _ if full => self.mappings.complete = false,
            _ => found.push(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, MAPPINGS_MAX, Mappings, NO_EXECUTE, PRESENT, TABLES_MAX, Table, walk};
    use portcall::layout::{GIB, HOLE_END, HOLE_START, LARGE_PAGE, MIB};
    use std::cell::Cell;
    use std::collections::HashMap;

    const RW: u64 = PRESENT | super::WRITABLE | super::USER;

    /// Entries by table address and slot.
    fn mapped(entries: &[(u64, usize, u64)], ram: &[std::ops::Range<u64>]) -> Mappings {
        let mut tables: HashMap<u64, Table> = HashMap::new();
        for (table, slot, entry) in entries {
            tables.entry(*table).or_insert([0; 512])[*slot] = *entry;
        }
        walk(0x1000, ram, |at| tables.get(&at.0).copied())
    }

    /// Address, place, size, and permissions of what was found.
    fn told(mappings: &Mappings) -> Vec<(u64, u64, u64, String)> {
        let tell = |m: &portcall::address_space::Mapping| {
            (m.gva, m.gpa, m.size, m.permissions.to_string())
        };
        mappings.found.iter().map(tell).collect()
    }

    #[test]
    fn neighbours_that_are_alike_are_joined() {
        let way = [(0x1000, 256, 0x2000 | RW), (0x2000, 0, 0x3000 | RW), (0x3000, 0, 0x4000 | RW)];
        let pages = [
            (0x4000, 1, 0x8000 | RW),
            (0x4000, 2, 0x9000 | RW),
            // Alike, but elsewhere; next to it, but not alike; then a gap.
            (0x4000, 3, 0xb000 | RW),
            (0x4000, 4, 0xc000 | PRESENT | NO_EXECUTE),
            (0x4000, 6, 0xe000 | PRESENT | NO_EXECUTE),
        ];
        let mappings = mapped(&[&way[..], &pages].concat(), std::slice::from_ref(&(0..MIB)));
        const HIGH: u64 = 0xffff_8000_0000_0000;
        let expected = [
            (HIGH + 0x1000, 0x8000, 0x2000, "rwx".to_owned()),
            (HIGH + 0x3000, 0xb000, 0x1000, "rwx".to_owned()),
            (HIGH + 0x4000, 0xc000, 0x1000, "r--".to_owned()),
            (HIGH + 0x6000, 0xe000, 0x1000, "r--".to_owned()),
        ];
        assert_eq!(told(&mappings), expected);
        assert!(mappings.complete);
    }

    #[test]
    fn every_level_has_a_say_in_the_permissions() {
        let entries = [
            (0x1000, 0, 0x2000 | RW | NO_EXECUTE),
            (0x2000, 0, 0x3000 | PRESENT),
            (0x3000, 1, LARGE_PAGE | RW | LARGE),
        ];
        let mappings = mapped(&entries, std::slice::from_ref(&(0..GIB)));
        assert_eq!(told(&mappings), [(LARGE_PAGE, LARGE_PAGE, LARGE_PAGE, "r--".to_owned())]);
        assert!(!mappings.found[0].user);
    }

    #[test]
    fn only_what_is_ram_of_a_large_page_is_there() {
        let ram = [0..HOLE_START + MIB, HOLE_END..HOLE_END + MIB];
        let entries = [
            (0x1000, 0, 0x2000 | RW),
            (0x2000, 5, HOLE_START | RW | LARGE),
            (0x2000, 7, HOLE_END | RW | LARGE),
            // Far outside of RAM: a page, and a table.
            (0x2000, 8, super::ADDRESS | RW | LARGE),
            (0x2000, 9, super::ADDRESS | RW),
        ];
        let expected = [
            (5 * GIB, HOLE_START, MIB, "rwx".to_owned()),
            (7 * GIB, HOLE_END, MIB, "rwx".to_owned()),
        ];
        assert_eq!(told(&mapped(&entries, &ram)), expected);
    }

    #[test]
    fn tables_that_lead_into_each_other_end() {
        let reads = Cell::new(0);
        let read = |entry: u64| {
            reads.set(0);
            let mappings = walk(0x1000, std::slice::from_ref(&(0..MIB)), |_| {
                reads.set(reads.get() + 1);
                Some([entry; 512])
            });
            assert!(mappings.found.len() <= MAPPINGS_MAX);
            assert!(reads.get() <= TABLES_MAX);
            (mappings.complete, mappings.found.len())
        };
        // All pages lead to one, and none is the neighbour of another.
        assert_eq!(read(0x1000 | RW), (false, MAPPINGS_MAX));
        // No page is in RAM.
        assert_eq!(read(1 << 40 | RW), (false, 0));
        assert_eq!(reads.get(), TABLES_MAX);
        assert_eq!(read(u64::MAX), (true, 0));
        assert_eq!(read(0), (true, 0));
    }
}
