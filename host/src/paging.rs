//! Step 6: the page tables (SDM vol. 3, 5.5, "4-Level Paging").
//!
//! How the [address space](crate::address_space) is written: in pages of 2 MiB where nothing asks
//! for less.

use crate::address_space::{Mapping, pages};
use crate::error::MemoryError;
use crate::layout::{GIB, Gpa, Gva, LARGE_PAGE, PAGE};
use crate::memory::Memory;
use crate::segment::{Permissions, Segment};
use std::fmt;
use std::ops::Range;
use x86_64::PhysAddr;
use x86_64::structures::paging::{PageTable, PageTableFlags};

/// Bytes that one entry of the PML4 maps.
const PML4_ENTRY: u64 = 512 * GIB;

/// What every entry has. That it was accessed, and each page written, is said from the start (SDM
/// vol. 3, 5.8): so a run that does not write to the tables leaves them as they are, and one look
/// at the log of written pages tells that they still hold ([`invariant`](crate::invariant)).
const SEEN: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::ACCESSED);

/// Pages that suffice for the tables of any address space of this memory and these segments.
/// It has to be known before the address space, since the tables lie in it.
#[must_use]
pub fn tables_bound(memory: u64, segments: &[Segment]) -> u64 {
    let spans = |range: &Range<u64>, unit: u64| (range.end - 1) / unit - range.start / unit + 1;
    // The PML4 and one PDPT; a page directory a GiB, one more for the hole's edge; a page table
    // for the null page, and two for each of the seven pieces of our own range.
    let mut tables = 2 + memory.div_ceil(GIB) + 1 + 1 + 14;
    for segment in segments {
        // Its edges where it lies; then all it may need where it is seen.
        let seen = pages(&segment.virtual_range());
        let congruent = segment.gva.0 % LARGE_PAGE == segment.gpa.0 % LARGE_PAGE;
        let edges = if congruent { 2 } else { spans(&seen, LARGE_PAGE) };
        tables += 2 + edges;
        if segment.gva.0 != segment.gpa.0 {
            tables += 2 + spans(&seen, GIB) + spans(&seen, PML4_ENTRY);
        }
    }
    tables
}

/// The same for what windows in the hole add to it: the page directory of that GiB, and a page table
/// wherever one begins or ends.
#[must_use]
pub fn windows_bound(windows: &[Range<u64>]) -> u64 {
    let edges = |range: &Range<u64>| [range.start / LARGE_PAGE, (range.end - 1) / LARGE_PAGE];
    let mut edges: Vec<u64> = windows.iter().flat_map(edges).collect();
    edges.sort_unstable();
    edges.dedup();
    edges.len() as u64 + u64::from(!windows.is_empty())
}

/// An entry that was written, for those who want to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 4 for the PML4, 3 for a PDPT, 2 for a page directory, 1 for a page table.
    pub level: u8,
    /// The first address it maps.
    pub gva: Gva,
    /// The table or page it points to.
    pub gpa: Gpa,
    /// Its flag bits.
    pub flags: PageTableFlags,
}

/// Tables that there is room for at once: those of a plain image, so that they are not moved. Each
/// page that is not touched for a copy is 1.5 us of a process's start.
const USUAL: usize = 8;

/// Page tables as they will lie in guest memory from `start` on, the PML4 first.
#[derive(Debug)]
pub struct Tables {
    start: u64,
    pages: Vec<PageTable>,
}

impl Tables {
    /// Builds the tables of an address space.
    #[must_use]
    pub fn build(start: Gpa, space: &[Mapping]) -> Self {
        let mut tables = Self { start: start.0, pages: Vec::with_capacity(USUAL) };
        tables.pages.push(PageTable::new());
        for mapping in space {
            tables.map(mapping);
        }
        tables
    }

    fn map(&mut self, mapping: &Mapping) {
        let mut flags = SEEN | PageTableFlags::DIRTY;
        flags.set(PageTableFlags::WRITABLE, mapping.permissions.write);
        flags.set(PageTableFlags::NO_EXECUTE, !mapping.permissions.execute);
        flags.set(PageTableFlags::USER_ACCESSIBLE, mapping.user);
        let mut done = 0;
        while done < mapping.size {
            let (gva, gpa) = (mapping.gva + done, mapping.gpa + done);
            let large = gva.is_multiple_of(LARGE_PAGE)
                && gpa.is_multiple_of(LARGE_PAGE)
                && mapping.size - done >= LARGE_PAGE;
            let pointers = self.next(0, gva, 4);
            let directory = self.next(pointers, gva, 3);
            if large {
                let huge = flags | PageTableFlags::HUGE_PAGE;
                self.pages[directory][index(gva, 2)].set_addr(PhysAddr::new(gpa), huge);
                done += LARGE_PAGE;
            } else {
                // As far as this table goes: a walk from the top for each page, and copies of
                // tables, were a third of the instructions of a process's start (150,000 of
                // 400,000), and 15 us of 1096.
                let table = self.next(directory, gva, 2);
                let first = index(gva, 1);
                let left = usize::try_from((mapping.size - done) / PAGE).unwrap_or(usize::MAX);
                let entries = self.pages[table].iter_mut().skip(first).take(left);
                for (entry, at) in entries.zip((gpa..).step_by(4096)) {
                    entry.set_addr(PhysAddr::new(at), flags);
                    done += PAGE;
                }
            }
        }
    }

    /// The table that an entry of a table of `level` points to, made where there is none.
    fn next(&mut self, table: usize, gva: u64, level: u8) -> usize {
        let made = self.pages.len();
        let entry = &mut self.pages[table][index(gva, level)];
        if entry.is_unused() {
            // The most permissive: the last level alone decides.
            let flags = SEEN | PageTableFlags::WRITABLE | PageTableFlags::USER_ACCESSIBLE;
            entry.set_addr(PhysAddr::new(self.start + made as u64 * PAGE), flags);
            self.pages.push(PageTable::new());
            return made;
        }
        let offset = entry.addr().as_u64() - self.start;
        usize::try_from(offset / PAGE).unwrap_or(usize::MAX)
    }

    /// Copies the tables to their place, the layout's `tables`.
    ///
    /// # Errors
    /// There is no room, or no RAM.
    pub fn write(&self, memory: &Memory, room: &Range<u64>) -> Result<(), MemoryError> {
        let size = self.pages.len() as u64 * PAGE;
        // `tables_bound` has seen to it.
        if self.start + size > room.end {
            return Err(MemoryError::NotRam { address: self.start, size });
        }
        self.each(|at, bytes| memory.write(at, bytes))
    }

    /// Whether they are what memory has at their place.
    pub(crate) fn stand_in(&self, memory: &Memory) -> bool {
        let mut now = [0; 4096];
        let same = |at, bytes: &[u8; 4096]| {
            memory.read(at, &mut now).ok().filter(|()| now == *bytes).ok_or(())
        };
        self.each(same).is_ok()
    }

    /// Hands on each page, where it stands and as it is written.
    fn each<E>(&self, mut take: impl FnMut(Gpa, &[u8; 4096]) -> Result<(), E>) -> Result<(), E> {
        let mut bytes = [0; 4096];
        for (page, at) in self.pages.iter().zip((self.start..).step_by(4096)) {
            for (to, entry) in bytes.chunks_exact_mut(8).zip(page.iter()) {
                let raw = entry.addr().as_u64() | entry.flags().bits();
                to.copy_from_slice(&raw.to_le_bytes());
            }
            take(Gpa(at), &bytes)?;
        }
        Ok(())
    }

    /// How many pages the tables take.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Every entry in use, in the order of a walk.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.collect(0, 4, 0, &mut entries);
        entries
    }

    fn collect(&self, table: usize, level: u8, base: u64, entries: &mut Vec<Entry>) {
        for (i, entry) in self.pages[table].iter().enumerate().filter(|(_, e)| !e.is_unused()) {
            let gva = x86_64::VirtAddr::new_truncate(base + ((i as u64) << shift(level))).as_u64();
            let (gpa, flags) = (Gpa(entry.addr().as_u64()), entry.flags());
            entries.push(Entry { level, gva: Gva(gva), gpa, flags });
            if level > 1 && !flags.contains(PageTableFlags::HUGE_PAGE) {
                let next = usize::try_from((gpa.0 - self.start) / PAGE).unwrap_or(usize::MAX);
                self.collect(next, level - 1, gva, entries);
            }
        }
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages at {:#x}", self.pages.len(), self.start)?;
        // Neighbours of one level, alike in flags and going on in memory, are one line.
        let entries = self.entries();
        let mut runs: Vec<(Entry, u64)> = Vec::new();
        for entry in entries {
            let unit = 1u64 << shift(entry.level);
            match runs.iter_mut().rfind(|(first, _)| first.level == entry.level) {
                Some((first, count))
                    if entry.leaf()
                        && (first.flags, first.gva.0 + *count * unit)
                            == (entry.flags, entry.gva.0)
                        && first.gpa.0 + *count * unit == entry.gpa.0 =>
                {
                    *count += 1;
                }
                _ => runs.push((entry, 1)),
            }
        }
        for (entry, count) in runs {
            write!(f, "\n{entry}")?;
            if count > 1 {
                write!(f, "  and {} more like it", count - 1)?;
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Whether it maps a page rather than pointing to a table.
    #[must_use]
    pub const fn leaf(&self) -> bool {
        self.level == 1 || self.flags.contains(PageTableFlags::HUGE_PAGE)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = ["PT", "PD", "PDPT", "PML4"][usize::from(self.level - 1)];
        let index = index(self.gva.0, self.level);
        let indent = usize::from(4 - self.level) * 2;
        write!(f, "{:indent$}{table}[{index}] = {:#x} ", "", self.gpa.0)?;
        if !self.leaf() {
            return f.write_str("table");
        }
        let permissions = Permissions {
            write: self.flags.contains(PageTableFlags::WRITABLE),
            execute: !self.flags.contains(PageTableFlags::NO_EXECUTE),
        };
        let kib = (1u64 << shift(self.level)) / 1024;
        write!(f, "{permissions} maps {} ({kib} KiB)", self.gva)
    }
}

/// How far an address is shifted for the index into a table of `level`.
pub(crate) const fn shift(level: u8) -> u32 {
    12 + 9 * (level as u32 - 1)
}

/// The entry of a table of `level` that `gva` goes through.
pub(crate) const fn index(gva: u64, level: u8) -> usize {
    (gva >> shift(level) & 0x1ff) as usize
}

#[cfg(test)]
mod tests {
    use super::{LARGE_PAGE, PAGE, Tables, tables_bound, windows_bound};
    use crate::address_space::address_space;
    use crate::layout::{GIB, Gpa, Gva, HOLE_END, HOLE_START, Layout, MIB};
    use crate::memory::Memory;
    use crate::registers::Ring;
    use crate::segment::{Permissions, Segment};
    use crate::walk::translate;

    fn segment(gva: u64, gpa: u64, size: u64, write: bool, execute: bool) -> Segment {
        let permissions = Permissions { write, execute };
        Segment { gva: Gva(gva), gpa: Gpa(gpa), size, file: 0..0, permissions }
    }

    /// The address space of these segments, in memory.
    fn built(memory: u64, segments: &[Segment], ring: Ring) -> (Layout, Memory) {
        let bound = tables_bound(memory, segments);
        let layout = Layout::new(memory, bound, 0, 0).expect("lays out");
        let ram = Memory::map(&layout).expect("maps");
        let tables =
            Tables::build(Gpa(layout.tables.start), &address_space(&layout, segments, ring));
        tables.write(&ram, &layout.tables).expect("the bound is one");
        (layout, ram)
    }

    #[test]
    fn what_is_translated_is_what_was_asked_for() {
        const HIGH: u64 = 0xffff_ffff_8000_0000;
        let segments = [
            segment(MIB, MIB, 3 * PAGE + 5, false, true),
            // Large enough for large pages in its middle, and not aligned to them.
            segment(4 * MIB + PAGE, 4 * MIB + PAGE, 7 * MIB, true, false),
            segment(HIGH + 0x800, 2 * MIB + 0x800, 2 * PAGE, false, false),
        ];
        let (layout, ram) = built(16 * MIB, &segments, Ring::Zero);
        let root = layout.tables.start;
        let walk = |gva| translate(&ram, root, Gva(gva));
        for segment in &segments {
            for offset in (0..segment.size).step_by(0x7f3) {
                let found = walk(segment.gva.0 + offset).expect("mapped");
                assert_eq!(found.gpa.0, segment.gpa.0 + offset);
                let permissions = Permissions { write: found.writable, execute: found.executable };
                assert_eq!(permissions, segment.permissions, "{:#x}", segment.gva.0 + offset);
            }
        }
        // The same memory, seen where it lies: no execution, and no more writing than there.
        let alias = walk(2 * MIB + 0x800).expect("mapped");
        assert!(!alias.writable && !alias.executable);
        for unmapped in [0, PAGE - 1, layout.guard.start, layout.guard.end - 1, 16 * MIB, HIGH - 1]
        {
            assert_eq!(walk(unmapped), None, "{unmapped:#x}");
        }
        // Not canonical.
        assert_eq!(walk(1 << 47), None);
        let ours = [
            (&layout.tables, false, false),
            (&layout.descriptors, false, false),
            (&layout.stubs, false, true),
            (&layout.boot, true, false),
            (&layout.stack, true, false),
        ];
        for (range, writable, executable) in ours {
            for gva in [range.start, range.end - 1] {
                let found = walk(gva).expect("mapped");
                assert_eq!(
                    (found.gpa.0, found.writable, found.executable),
                    (gva, writable, executable)
                );
            }
        }
    }

    #[test]
    fn segments_that_share_a_page_share_its_permissions() {
        let segments = [
            segment(MIB, MIB, 0x1800, false, true),
            segment(MIB + 0x1800, MIB + 0x1800, 0x100, false, false),
            segment(MIB + 0x1900, MIB + 0x1900, 0x1000, true, false),
        ];
        let (layout, ram) = built(2 * MIB, &segments, Ring::Zero);
        let walk = |gva| translate(&ram, layout.tables.start, Gva(gva)).expect("mapped");
        let (first, shared, last) = (walk(MIB), walk(MIB + 0x1000), walk(MIB + 0x2000));
        assert_eq!((first.writable, first.executable), (false, true));
        assert_eq!((shared.writable, shared.executable), (true, true));
        assert_eq!((last.writable, last.executable), (true, false));
    }

    #[test]
    fn ring_3_sees_the_guests_pages_and_none_of_the_hosts() {
        let segments = [segment(MIB, MIB, 5 * PAGE, false, true)];
        let (layout, ram) = built(16 * MIB, &segments, Ring::Three);
        let user = |gva| translate(&ram, layout.tables.start, Gva(gva)).expect("mapped").user;
        for gva in [PAGE, MIB, 8 * MIB, layout.boot.start, layout.console.start, layout.stack.start]
        {
            assert!(user(gva), "{gva:#x}");
        }
        let ours = [&layout.tables, &layout.descriptors, &layout.stubs, &layout.exception_stacks];
        for gva in ours.into_iter().flat_map(|range| [range.start, range.end - 1]) {
            assert!(!user(gva), "{gva:#x}");
        }
        let (layout, ram) = built(16 * MIB, &segments, Ring::Zero);
        assert!(!translate(&ram, layout.tables.start, Gva(MIB)).expect("mapped").user);
    }

    #[test]
    fn windows_are_mapped_one_to_one_for_both_rings_and_nothing_beside_them() {
        // A page, one of large pages and edges, and two that share a page table.
        let at = HOLE_START;
        let windows = [
            at..at + PAGE,
            at + MIB..at + 6 * MIB + PAGE,
            HOLE_END - 8 * PAGE..HOLE_END - 7 * PAGE,
            HOLE_END - PAGE..HOLE_END,
        ];
        for memory in [MIB, 3 * GIB, 8 * GIB] {
            for ring in [Ring::Zero, Ring::Three] {
                let bound = tables_bound(memory, &[]) + windows_bound(&windows);
                let mut layout = Layout::new(memory, bound, 0, 0).expect("lays out");
                layout.windows = windows.to_vec();
                let ram = Memory::map(&layout).expect("maps");
                let space = address_space(&layout, &[], ring);
                let tables = Tables::build(Gpa(layout.tables.start), &space);
                tables.write(&ram, &layout.tables).expect("the bound is one");
                let walk = |gva| translate(&ram, layout.tables.start, Gva(gva));
                for window in &windows {
                    for gva in [window.start, window.end - 1] {
                        let found = walk(gva).expect("mapped");
                        assert_eq!((found.gpa.0, found.user), (gva, ring == Ring::Three));
                        assert!(found.writable && !found.executable, "{gva:#x}");
                    }
                }
                for gva in [at + PAGE, at + MIB - 1, at + 6 * MIB + PAGE, HOLE_END - PAGE - 1] {
                    assert_eq!(walk(gva), None, "{gva:#x}");
                }
            }
        }
    }

    #[test]
    fn the_bound_of_windows_is_as_small_as_their_edges() {
        let many: Vec<_> = (0..64).map(|i| HOLE_START + 2 * i * PAGE).collect();
        let many: Vec<_> = many.into_iter().map(|at| at..at + PAGE).collect();
        assert_eq!((windows_bound(&[]), windows_bound(&many)), (0, 2));
        let half = HOLE_START..HOLE_START + GIB / 2;
        assert_eq!(windows_bound(&[half]), 3);
    }

    #[test]
    fn the_bound_holds_for_segments_everywhere() {
        // A plain linear congruence: the same segments in every run.
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 20) % below
        };
        for _ in 0..200 {
            let mut segments = Vec::new();
            let mut gpa = PAGE;
            while segments.len() < 12 {
                gpa += random(3 * LARGE_PAGE);
                let size = 1 + random(3 * LARGE_PAGE);
                let high = random(3) == 0;
                let far = (segments.len() as u64 + 1) << (30 + random(9));
                let gva = if high { 0xffff_8000_0000_0000 + far + (gpa & (PAGE - 1)) } else { gpa };
                segments.push(segment(gva, gpa, size, random(2) == 0, random(2) == 0));
                gpa += size + PAGE;
            }
            let memory = (gpa + 64 * MIB).next_multiple_of(PAGE);
            built(memory, &segments, Ring::Zero);
        }
        built(8 * GIB, &[], Ring::Zero);
    }
}
