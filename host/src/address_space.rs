//! What a guest sees at its entry, and what it may do there.
//!
//! RAM is mapped one to one, readable and writable. Upon this the image's segments are mapped
//! with their own permissions where they want to be seen. The null page and the stack's guard
//! page stay unmapped. Of what is no RAM, the windows of devices are mapped, and nothing else.

use crate::layout::{IMAGE_MIN, Layout, PAGE, round_up};
use crate::registers::Ring;
use crate::segment::{Permissions, Segment};
use std::ops::Range;

/// Pages at `gva` that stand at `gpa`, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first address the guest sees.
    pub gva: u64,
    /// Where it lies in memory.
    pub gpa: u64,
    /// Bytes, whole pages.
    pub size: u64,
    /// What the pages may be used for.
    pub permissions: Permissions,
    /// Whether ring 3 may use them.
    pub user: bool,
}

/// What a guest's address space looks like at its entry: mappings in order, none overlapping.
#[must_use]
pub fn address_space(layout: &Layout, segments: &[Segment], ring: Ring) -> Vec<Mapping> {
    let mut space = Space { mappings: Vec::new(), user: ring == Ring::Three };
    for ram in &layout.ram {
        space.map(ram.clone(), ram.start, Permissions::DATA);
    }
    // A guest that edits its page tables or descriptors says so first, by clearing CR0.WP.
    let ours = [
        (&layout.tables, Permissions::READ),
        (&layout.descriptors, Permissions::READ),
        (&layout.stubs, Permissions::CODE),
        (&layout.exception_stacks, Permissions::DATA),
    ];
    for (range, permissions) in ours {
        space.map(range.clone(), range.start, permissions);
    }
    space.keep_from_ring_3(&(layout.tables.start..layout.exception_stacks.end));
    space.unmap(&layout.guard);
    // Every access there is the host's to answer. What is fetched from there would be no code.
    for window in &layout.windows {
        space.map(window.clone(), window.start, Permissions::DATA);
    }
    let mut sorted: Vec<&Segment> = segments.iter().collect();
    sorted.sort_by_key(|segment| segment.gva);
    // Where a segment is seen elsewhere than it lies, its place in memory is no way around its
    // permissions.
    for segment in sorted.iter().filter(|segment| segment.gva.0 != segment.gpa.0) {
        let permissions = Permissions { execute: false, ..segment.permissions };
        space.map(pages(&segment.physical_range()), segment.gpa.0 & !(PAGE - 1), permissions);
    }
    let mut last: Option<(u64, Permissions)> = None;
    for segment in sorted {
        let range = pages(&segment.virtual_range());
        space.map(range.clone(), segment.gpa.0 & !(PAGE - 1), segment.permissions);
        // A page that two segments share serves both.
        if let Some((page, permissions)) = last.filter(|(page, _)| *page == range.start) {
            let both = permissions.union(segment.permissions);
            space.map(page..page + PAGE, segment.gpa.0 & !(PAGE - 1), both);
            last = Some((page, both));
        }
        if last.is_none_or(|(page, _)| page != range.end - PAGE) {
            last = Some((range.end - PAGE, segment.permissions));
        }
    }
    space.unmap(&(0..IMAGE_MIN));
    space.mappings.sort_by_key(|mapping| mapping.gva);
    space.mappings
}

/// The whole pages around a range of addresses.
pub(crate) const fn pages(range: &Range<u64>) -> Range<u64> {
    range.start & !(PAGE - 1)..round_up(range.end, PAGE)
}

/// Mappings in the making: what is mapped later replaces what was there.
struct Space {
    mappings: Vec<Mapping>,
    /// Whether ring 3 may use what is mapped.
    user: bool,
}

impl Space {
    fn map(&mut self, gva: Range<u64>, gpa: u64, permissions: Permissions) {
        self.unmap(&gva);
        let size = gva.end - gva.start;
        self.mappings.push(Mapping { gva: gva.start, gpa, size, permissions, user: self.user });
    }

    /// What is mapped in this range, already in pieces of its own, is for ring 0 alone.
    fn keep_from_ring_3(&mut self, range: &Range<u64>) {
        for mapping in self.mappings.iter_mut().filter(|m| range.contains(&m.gva)) {
            mapping.user = false;
        }
    }

    fn unmap(&mut self, hole: &Range<u64>) {
        let mut kept = Vec::with_capacity(self.mappings.len() + 2);
        for old in self.mappings.drain(..) {
            let end = old.gva + old.size;
            let below = old.gva..end.min(hole.start);
            let above = old.gva.max(hole.end)..end;
            for part in [below, above] {
                if part.start < part.end {
                    let gpa = old.gpa + (part.start - old.gva);
                    kept.push(Mapping { gva: part.start, gpa, size: part.end - part.start, ..old });
                }
            }
        }
        self.mappings = kept;
    }
}
