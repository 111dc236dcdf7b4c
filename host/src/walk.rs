//! From guest-virtual to guest-physical addresses, by the page tables as they are now.
//!
//! The guest may have written anything there: a walk takes four reads at most, each checked.

use crate::error::MemoryError;
use crate::layout::{Gpa, Gva, PAGE};
use crate::memory::Memory;
use crate::paging::{index, shift};
use x86_64::structures::paging::PageTableFlags;

/// Where a guest-virtual address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address.
    pub gpa: Gpa,
    /// Whether every level allows writing.
    pub writable: bool,
    /// Whether every level allows execution.
    pub executable: bool,
    /// Whether every level allows ring 3.
    pub user: bool,
}

/// Walks the guest's page tables from `cr3` as they are now: `None` where nothing is mapped.
/// The guest may have written anything there; the walk takes four reads at most.
#[must_use]
pub fn translate(memory: &Memory, cr3: u64, gva: Gva) -> Option<Translation> {
    let canonical = x86_64::VirtAddr::try_new(gva.0).ok()?;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    let (mut table, mut writable, mut executable, mut user) = (cr3 & ADDRESS, true, true, true);
    for level in (1..=4).rev() {
        let slot = table + 8 * index(canonical.as_u64(), level) as u64;
        let entry = memory.load_u64(Gpa(slot)).ok()?;
        let flags = PageTableFlags::from_bits_truncate(entry);
        if !flags.contains(PageTableFlags::PRESENT) {
            return None;
        }
        writable &= flags.contains(PageTableFlags::WRITABLE);
        executable &= !flags.contains(PageTableFlags::NO_EXECUTE);
        user &= flags.contains(PageTableFlags::USER_ACCESSIBLE);
        table = entry & ADDRESS;
        let leaf = level == 1 || (level < 4 && flags.contains(PageTableFlags::HUGE_PAGE));
        if leaf {
            let within = (1u64 << shift(level)) - 1;
            let gpa = Gpa((table & !within) | (gva.0 & within));
            return Some(Translation { gpa, writable, executable, user });
        }
    }
    None
}

/// Copies guest-virtual memory, page by page, by the page tables at `cr3`.
pub(crate) fn read_virtual(
    memory: &Memory,
    cr3: u64,
    gva: Gva,
    bytes: &mut [u8],
) -> Result<(), MemoryError> {
    read_virtual_with(memory, cr3, gva, bytes, |_, _| {})
}

/// The same; `seen` is given each piece, and where it is.
pub(crate) fn read_virtual_with(
    memory: &Memory,
    cr3: u64,
    gva: Gva,
    bytes: &mut [u8],
    seen: impl Fn(Gpa, &[u8]),
) -> Result<(), MemoryError> {
    let mut at = gva.0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let to_page_end = usize::try_from(PAGE - at % PAGE).unwrap_or(usize::MAX);
        let (now, later) = rest.split_at_mut(to_page_end.min(rest.len()));
        let found =
            translate(memory, cr3, Gva(at)).ok_or(MemoryError::NotMapped { address: at })?;
        memory.read(found.gpa, now)?;
        seen(found.gpa, now);
        at = at.wrapping_add(now.len() as u64);
        rest = later;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::translate;
    use crate::layout::{Gpa, Gva, Layout, MIB};
    use crate::memory::Memory;

    #[test]
    fn a_walk_through_nonsense_ends() {
        let layout = Layout::new(2 * MIB, 12, 0, 0).expect("lays out");
        let ram = Memory::map(&layout).expect("maps");
        let root = layout.tables.start;
        // A table that is its own next level, and one that is not in RAM.
        for entry in [root | 3, u64::MAX, 0x000f_ffff_ffff_f003] {
            for slot in 0..512 {
                ram.store_u64(Gpa(root + 8 * slot), entry).expect("RAM");
            }
            let _ = translate(&ram, root, Gva(0x1234_5678));
        }
        assert_eq!(translate(&ram, u64::MAX, Gva(0)), None);
    }
}
