//! What the page tables translate is what was asked for, permissions included, and nothing else is
//! mapped: any segments, in any memory, in both rings.

use portcall::address_space::address_space;
use portcall::layout::{GIB, HOLE_END, HOLE_START, IMAGE_MIN, LARGE_PAGE, Layout, MIB, PAGE};
use portcall::paging::{Tables, tables_bound};
use portcall::segment::{Permissions, Segment};
use portcall::walk::{Translation, translate};
use portcall::{Gpa, Gva, Memory, Ring};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, prop_assume};
use std::ops::Range;

/// A segment in the making: how far behind the last it lies, its size, whether it is seen where it
/// lies, and what it may be used for.
#[derive(Clone, Debug)]
struct Piece {
    gap: u64,
    size: u64,
    moved: Option<u64>,
    permissions: Permissions,
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    // Small ones within a page, and some that large pages fit into.
    let size = prop_oneof![1..64_u64, 1..4 * PAGE, 1..3 * LARGE_PAGE, Just(LARGE_PAGE)];
    let gap = prop_oneof![Just(0), 0..PAGE, 0..2 * LARGE_PAGE];
    // Anywhere in the upper half, or far behind all RAM in the lower.
    let moved = prop_oneof![
        Just(None),
        (0..1_u64 << 34).prop_map(|page| Some(0xffff_8000_0000_0000 + page * PAGE)),
        (1_u64 << 26..1 << 34).prop_map(|page| Some(page * PAGE)),
    ];
    let piece = (gap, size, moved, any::<(bool, bool)>());
    let piece = piece.prop_map(|(gap, size, moved, (write, execute))| Piece {
        gap,
        size,
        moved,
        permissions: Permissions { write, execute },
    });
    vec(piece, 0..8)
}

/// One behind the other. A segment that is seen elsewhere has its pages to itself, as the linker
/// sees to it; the others may share one.
fn segments(pieces: &[Piece]) -> Vec<Segment> {
    let (mut at, mut alone) = (MIB, false);
    let mut segments = Vec::new();
    for Piece { gap, size, moved, permissions } in pieces {
        at += gap;
        if alone || moved.is_some() {
            at = at.next_multiple_of(PAGE) + gap % PAGE;
        }
        alone = moved.is_some();
        let gva = moved.map_or(at, |gva| gva + at % PAGE);
        let (gva, gpa, permissions) = (Gva(gva), Gpa(at), *permissions);
        segments.push(Segment { gva, gpa, size: *size, file: 0..0, permissions });
        at += size;
    }
    segments
}

const fn pages(range: &Range<u64>) -> Range<u64> {
    range.start & !(PAGE - 1)..range.end.next_multiple_of(PAGE)
}

fn are_apart(segments: &[Segment]) -> bool {
    let virtual_pages = |segment: &Segment| pages(&segment.virtual_range());
    segments.iter().enumerate().all(|(i, a)| {
        segments[..i].iter().all(|b| {
            let moved = a.gva.0 != a.gpa.0 || b.gva.0 != b.gpa.0;
            let (a, b) = (virtual_pages(a), virtual_pages(b));
            !moved || a.end <= b.start || b.end <= a.start
        })
    })
}

/// What was asked for at an address, found without any tables.
fn asked(layout: &Layout, segments: &[Segment], ring: Ring, gva: u64) -> Option<Translation> {
    let user = ring == Ring::Three;
    let found = |gpa: u64, it: Permissions, user: bool| {
        Some(Translation { gpa: Gpa(gpa), writable: it.write, executable: it.execute, user })
    };
    if gva < IMAGE_MIN || layout.guard.contains(&gva) {
        return None;
    }
    let seen = segments.iter().filter(|it| pages(&it.virtual_range()).contains(&gva));
    if let Some((gpa, all)) = seen.fold(None, |all: Option<(u64, Permissions)>, it| {
        let gpa = gva.wrapping_sub(it.gva.0).wrapping_add(it.gpa.0);
        Some((gpa, all.map_or(it.permissions, |(_, all)| all.union(it.permissions))))
    }) {
        return found(gpa, all, user);
    }
    let lies = segments.iter().find(|it| pages(&it.physical_range()).contains(&gva));
    if let Some(moved) = lies {
        return found(gva, Permissions { execute: false, ..moved.permissions }, user);
    }
    let ours = [
        (&layout.tables, Permissions::READ),
        (&layout.descriptors, Permissions::READ),
        (&layout.stubs, Permissions::CODE),
        (&layout.exception_stacks, Permissions::DATA),
    ];
    if let Some((_, permissions)) = ours.into_iter().find(|(range, _)| range.contains(&gva)) {
        return found(gva, permissions, false);
    }
    let ram = layout.ram.iter().any(|range| range.contains(&gva));
    if ram { found(gva, Permissions::DATA, user) } else { None }
}

/// Addresses at which something may change.
fn edges(layout: &Layout, segments: &[Segment]) -> Vec<u64> {
    let mut ranges = vec![0..IMAGE_MIN, HOLE_START..HOLE_END, layout.reserved()];
    ranges.extend(layout.ram.iter().cloned());
    let ours = [
        &layout.tables,
        &layout.descriptors,
        &layout.stubs,
        &layout.exception_stacks,
        &layout.boot,
        &layout.console,
        &layout.guard,
        &layout.stack,
    ];
    ranges.extend(ours.into_iter().cloned());
    for segment in segments {
        ranges.extend([segment.virtual_range(), segment.physical_range()]);
    }
    let around = |edge: u64| {
        [0, 1, PAGE, LARGE_PAGE]
            .into_iter()
            .flat_map(move |by| [edge.wrapping_sub(by), edge.wrapping_add(by)])
    };
    let both = ranges.into_iter().flat_map(|range| [range.start, range.end]);
    both.flat_map(around).collect()
}

fn check(
    memory: u64,
    segments: &[Segment],
    ring: Ring,
    any: &[(Index, u64)],
) -> Result<(), TestCaseError> {
    let bound = tables_bound(memory, segments);
    let layout = Layout::new(memory, bound, 0, 0).expect("lays out");
    let room = layout.reserved().start;
    prop_assume!(segments.iter().all(|it| pages(&it.physical_range()).end <= room));
    let ram = Memory::map(&layout).expect("sparse memory costs nothing");
    let space = address_space(&layout, segments, ring);
    let tables = Tables::build(Gpa(layout.tables.start), &space);
    prop_assert!(tables.pages() <= bound, "{} pages of {bound}", tables.pages());
    tables.write(&ram, &layout.tables).expect("the bound is one");
    let edges = edges(&layout, segments);
    let inside = any.iter().map(|(edge, by)| edge.get(&edges).wrapping_add(*by));
    for gva in edges.iter().copied().chain(inside) {
        let found = translate(&ram, layout.tables.start, Gva(gva));
        prop_assert_eq!(found, asked(&layout, segments, ring, gva), "{:#x}", gva);
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_translated_is_what_was_asked_for(
        pieces in pieces(),
        memory in prop_oneof![
            1_u64..64,
            Just(HOLE_START / MIB - 1),
            Just(HOLE_START / MIB),
            Just(HOLE_START / MIB + 2),
            Just(5 * GIB / MIB),
        ],
        three in any::<bool>(),
        any in vec((any::<Index>(), 0..4 * LARGE_PAGE), 64),
    ) {
        let segments = segments(&pieces);
        prop_assume!(are_apart(&segments));
        let needed = segments.last().map_or(0, |it| it.physical_range().end);
        // Room for the segments, and for our own range behind them.
        let memory = (memory * MIB).max((needed + 16 * MIB).next_multiple_of(PAGE));
        check(memory, &segments, if three { Ring::Three } else { Ring::Zero }, &any)?;
    }
}
