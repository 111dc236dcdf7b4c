//! What lay where in the guest's memory: the image, the host's own range, heap, windows and holes.

use super::ending::space;
use super::picture::key;
use super::{Report, percent};
use crate::mappings;
use ::page::text;
use maud::{Markup, html};
use portcall::Gpa;
use portcall::address_space::Mapping;
use portcall::layout::{HOLE_END, HOLE_START, IOAPIC, KVM_PAGES, LAPIC, Layout, PAGE};
use std::ops::Range;

/// More memory than this is not looked through for what was written.
const LOOKED_THROUGH: u64 = 1 << 30;
/// The most rows.
const ROWS: usize = 120;

/// A stretch of the guest's addresses.
struct Region {
    range: Range<u64>,
    name: String,
    /// How it is drawn, and what it belongs to.
    class: &'static str,
    /// As the page tables have it now.
    permissions: String,
    /// Bytes in pages that are not all zero.
    used: Option<u64>,
}

pub(super) fn memory(report: &Report<'_, '_>) -> Markup {
    let regions = regions(report);
    let layout = report.vm.layout();
    let ends = |class: &str| {
        let of = || regions.iter().filter(|it| it.class == class);
        let (first, last) = (of().next()?, of().next_back()?);
        Some(first.range.start..last.range.end)
    };
    let low = 0..layout.ram.first().map_or(0, |it| it.end);
    let left = regions.len().saturating_sub(ROWS);
    html! {
        p.legend {
            (key("m-image", "the image")) (key("m-ours", "the host's own range")) (key("m-stack", "stack"))
            (key("m-free", "heap and free RAM")) (key("m-window", "windows of devices"))
            (key("m-none", "not mapped, or no RAM"))
        }
        (strip("Low RAM, to scale", &low, &regions))
        @if let Some(range) = ends("m-image") { (strip("The image, to scale", &range, &regions)) }
        (strip("The host's own range and the stack, to scale", &(layout.tables.start..layout.stack.end), &regions))
        div.scroll { table {
            caption { "In order of address; permissions by the guest's page tables as they were at its end" }
            thead { tr {
                th scope="col" { "from" } th scope="col" { "up to" } th scope="col" { "size" }
                th scope="col" { "permissions" } th scope="col" { "not zero" } th.text scope="col" { "what" }
            } }
            tbody { @for it in regions.iter().take(ROWS) { tr {
                th scope="row" { code { (format!("{:#x}", it.range.start)) } }
                td { code { (format!("{:#x}", it.range.end)) } }
                td { (size(it.range.end - it.range.start)) }
                td { code { (it.permissions) } }
                td { @match it.used { Some(bytes) => (size(bytes)), None => "-" } }
                td.text { (key(it.class, "")) bdi { (text::shown(&it.name, 100)) } }
            } } }
        } }
        @if left > 0 { p.note { "\u{2026} and " (left) " more" } }
    }
}

/// A range as a bar, its parts by place and size.
fn strip(title: &str, range: &Range<u64>, regions: &[Region]) -> Markup {
    let whole = range.end - range.start;
    let parts = regions.iter().filter_map(|it| {
        let (from, until) = (it.range.start.max(range.start), it.range.end.min(range.end));
        let at = percent(from.saturating_sub(range.start), whole);
        // What is there is seen.
        (from < until).then(|| (it, at, percent(until - from, whole).max(0.15)))
    });
    let parts: Vec<_> = parts.collect();
    html! {
        figure.strip {
            figcaption { (title) ": " code { (format!("{:#x}", range.start)) } " to "
                code { (format!("{:#x}", range.end)) } ", " (size(whole)) }
            svg width="100%" height="34" role="img" aria-label={ (title) ": the table below has it in words" } {
                title { (title) }
                @for (it, at, width) in &parts {
                    svg x={ (format!("{at:.3}")) "%" } width={ (format!("{width:.3}")) "%" } height="34" {
                        title { (text::shown(&it.name, 100)) ", " (size(it.range.end - it.range.start)) ", " (it.permissions) }
                        rect class=(it.class) width="100%" height="34" {}
                        @if *width > 8.0 { text x="4" y="21" class={ "on-" (it.class) } { (text::shown(&it.name, 40)) } }
                    }
                }
            }
        }
    }
}

/// All of them, in order.
fn regions(report: &Report<'_, '_>) -> Vec<Region> {
    let (layout, memory) = (report.vm.layout(), report.vm.memory());
    let mut ranges = named(report, layout);
    ranges.sort_by_key(|(range, ..)| (range.start, range.end));
    let mut all: Vec<(Range<u64>, String, &'static str)> = Vec::new();
    for ram in &layout.ram {
        let mut at = ram.start;
        for (range, ..) in ranges.iter().filter(|(range, ..)| ram.contains(&range.start)) {
            if range.start > at {
                all.push((at..range.start, "free RAM".to_owned(), "m-free"));
            }
            at = at.max(range.end);
        }
        if at < ram.end {
            all.push((at..ram.end, "free RAM".to_owned(), "m-free"));
        }
    }
    all.extend(ranges);
    all.sort_by_key(|(range, ..)| (range.start, range.end));
    let found = mappings::of(memory, &layout.ram, space(report).cr3).found;
    let mut regions: Vec<Region> = all
        .into_iter()
        .filter(|(range, ..)| !range.is_empty())
        .map(|(range, name, class)| {
            let permissions = permissions(&range, class, &found);
            Region { range, name, class, permissions, used: None }
        })
        .collect();
    count_used(report, &mut regions);
    regions
}

/// What has a name.
fn named(report: &Report<'_, '_>, layout: &Layout) -> Vec<(Range<u64>, String, &'static str)> {
    let mut all = vec![(0..PAGE, "the null page".to_owned(), "m-none")];
    for segment in report.image.segments() {
        let mut name = format!("image, {}", segment.permissions);
        let range = segment.virtual_range();
        if let Some(symbols) = report.symbols {
            let mut sections = symbols.sections_in(&range);
            let more = sections.len().saturating_sub(6);
            sections.truncate(6);
            if !sections.is_empty() {
                name += &format!(": {}", sections.join(" "));
            }
            if more > 0 {
                name += &format!(" and {more} more");
            }
        }
        if segment.gva.0 != segment.gpa.0 {
            name += &format!(", in memory at {:#x}", segment.gpa.0);
        }
        all.push((range.start & !(PAGE - 1)..range.end.next_multiple_of(PAGE), name, "m-image"));
    }
    let ours = [
        (&layout.tables, "page tables", "m-ours"),
        (&layout.descriptors, "GDT, IDT and TSS", "m-ours"),
        (&layout.stubs, "exception stubs", "m-ours"),
        (&layout.exception_stacks, "exception stacks", "m-ours"),
        (&layout.mailbox, "mailbox", "m-ours"),
        (&layout.boot, "boot information and arguments", "m-ours"),
        (&layout.console, "console window", "m-ours"),
        (&layout.guard, "guard page below the stack", "m-none"),
        (&layout.stack, "stack", "m-stack"),
    ];
    all.extend(ours.map(|(range, name, class)| (range.clone(), name.to_owned(), class)));
    let used: Vec<_> = report.image.segments().iter().map(|it| it.physical_range()).collect();
    all.push((layout.heap(&used), "heap".to_owned(), "m-free"));
    for window in &layout.windows {
        all.push((window.clone(), "window of a device of the host's".to_owned(), "m-window"));
    }
    let in_hole = [
        (IOAPIC, "where a PC has its I/O APIC"),
        (KVM_PAGES, "pages of KVM's own"),
        (LAPIC, "where a processor has its local APIC"),
    ];
    let mut at = HOLE_START;
    let mut holes: Vec<_> = layout.windows.to_vec();
    holes.extend(in_hole.iter().map(|(range, _)| range.clone()));
    holes.sort_by_key(|it| it.start);
    for hole in holes {
        if hole.start > at {
            all.push((at..hole.start, "the hole: no RAM".to_owned(), "m-none"));
        }
        at = at.max(hole.end);
    }
    all.push((at..HOLE_END, "the hole: no RAM".to_owned(), "m-none"));
    all.extend(in_hole.map(|(range, name)| (range, name.to_owned(), "m-none")));
    all
}

/// All that the tables say of a range, the first few.
fn permissions(range: &Range<u64>, class: &str, found: &[Mapping]) -> String {
    if class == "m-window" {
        return "the host answers".to_owned();
    }
    let mut all: Vec<String> = Vec::new();
    let inside = |it: &&Mapping| it.gva < range.end && it.gva + it.size > range.start;
    for mapping in found.iter().filter(inside) {
        let user = if mapping.user { "u" } else { "-" };
        let text = format!("{}{user}", mapping.permissions);
        if !all.contains(&text) {
            all.push(text);
        }
    }
    match all.len() {
        0 => "not mapped".to_owned(),
        1..=4 => all.join(", "),
        more => format!("{more} different ones"),
    }
}

/// Counts pages that are not all zero, where that is cheap.
fn count_used(report: &Report<'_, '_>, regions: &mut [Region]) {
    let layout = report.vm.layout();
    let all: u64 = layout.ram.iter().map(|it| it.end - it.start).sum();
    let Some(pagemap) = report.pagemap.filter(|_| all <= LOOKED_THROUGH) else { return };
    let places: Vec<Range<u64>> = layout.ram.clone();
    for region in regions.iter_mut() {
        let is_ram =
            places.iter().any(|ram| ram.start <= region.range.start && region.range.end <= ram.end);
        let moved = report
            .image
            .segments()
            .iter()
            .any(|it| it.gva.0 != it.gpa.0 && region.range.contains(&it.gva.0));
        if !is_ram || moved {
            continue;
        }
        let mut used = 0;
        let counted = report.vm.memory().each_run(&region.range, pagemap, |_: Gpa, bytes| {
            used += bytes.len() as u64;
            Ok(())
        });
        region.used = counted.is_ok().then_some(used);
    }
}

/// Bytes in the unit in which they are whole, or nearly.
#[expect(clippy::cast_precision_loss, reason = "two places are shown")]
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit < 3 {
        value /= 1024.0;
        unit += 1;
    }
    match value.fract() < 0.005 {
        true => format!("{value:.0}\u{a0}{}", units[unit]),
        false => format!("{value:.2}\u{a0}{}", units[unit]),
    }
}
