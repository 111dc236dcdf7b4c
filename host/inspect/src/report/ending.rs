//! How a run ended: the explanation, the way there with its source, registers, page walks.

use super::{NAME, Report, block, guests};
use crate::render::same_call;
use crate::space::Space;
use crate::symbols::{DebugInfo, Frame, Source, source_text};
use crate::unwind::WalkEnd;
use ::page::text;
use maud::{Markup, html};
use portcall::{End, registers};

/// The most frames that are shown, and how many of them with their source.
const FRAMES: usize = 24;
const EXCERPTS: usize = 6;
/// Lines of source before and behind the one that is meant, and their width.
const AROUND: u32 = 3;
const WIDTH: usize = 160;

pub(super) fn explained(report: &Report<'_, '_>) -> Markup {
    let it = report.explanation;
    html! {
        // Where all is well that is the call by which it ended.
        @if let Some(place) = it.place.as_ref().filter(|_| !it.normal) { p.place { "at " code { (guests(&place.shown(), NAME)) } } }
        @if let Some(instruction) = &it.instruction {
            p { "The instruction at " code { (format!("{:#x}", it.registers.rip)) } ": "
                code { (guests(instruction, NAME)) } }
        }
        @if !it.notes.is_empty() || !report.notes.is_empty() {
            ul.notes { @for note in it.notes.iter().chain(&report.notes) { li { (block(note)) } } }
        }
        @match &it.debug_info {
            DebugInfo::Lines => {}
            DebugInfo::Symbols(why) | DebugInfo::Nothing(why) => {
                p.note { "No source lines: " (why) "." }
            }
        }
        @if it.normal { details { summary { "Where it ended" } (backtrace(report)) } }
        @else { (backtrace(report)) }
    }
}

/// Frames, with how often each was called by itself.
fn folded(frames: &[Frame]) -> Vec<(&Frame, usize)> {
    let mut folded: Vec<(&Frame, usize)> = Vec::new();
    for frame in frames {
        match folded.last_mut() {
            Some((last, times)) if same_call(frame, last) => *times += 1,
            _ => folded.push((frame, 0)),
        }
    }
    folded
}

fn backtrace(report: &Report<'_, '_>) -> Markup {
    let it = report.explanation;
    let frames = folded(&it.backtrace);
    let left = frames.len().saturating_sub(FRAMES);
    let mut excerpts = 0;
    let mut excerpt_of = |frame: &Frame| {
        let found = frame.source.as_ref().filter(|_| excerpts < EXCERPTS).and_then(excerpt)?;
        excerpts += 1;
        // What is meant is open; where all is well nothing is.
        let is_place = frame.source.as_ref() == it.place.as_ref();
        Some((found, is_place && !it.normal))
    };
    let shown = frames.iter().take(FRAMES).map(|(frame, again)| (frame, again, excerpt_of(frame)));
    let shown: Vec<_> = shown.collect();
    html! {
        h3 { "Backtrace, innermost first" }
        @if frames.is_empty() { p.note { "Nothing is known of how the guest got there." } }
        ol.backtrace start="0" {
            @for (frame, again, excerpt) in &shown {
                li {
                    (name(frame))
                    @if let Some(source) = &frame.source {
                        div.note { "at " (guests(&source.shown(), NAME)) }
                        @if let Some((lines, first)) = excerpt {
                            (source_lines(source, lines, *first))
                        }
                    }
                    @if **again > 0 { div.note { "and the same " (again) " times more" } }
                }
            }
        }
        @if left > 0 { p.note { "\u{2026} and " (left) " further frames" } }
        @match it.backtrace_end {
            WalkEnd::Cut => { p.note { "There are more calls than are followed." } }
            WalkEnd::Lost if !frames.is_empty() => {
                p.note { "Nothing leads further: no frame pointer, no unwind table." }
            }
            _ => {}
        }
    }
}

fn name(frame: &Frame) -> Markup {
    html! {
        @match &frame.function {
            Some(function) => code.function { (guests(function, NAME)) },
            None => code { (format!("{:#x}", frame.address)) },
        }
        @if let Some(offset) = frame.offset { " + " code { (format!("{offset:#x}")) } }
        @if frame.inlined { " " span.tag { "inlined" } }
    }
}

/// The lines around a place, with the number of the first.
fn excerpt(source: &Source) -> Option<(u32, Vec<String>)> {
    let file = source_text(&source.file)?;
    let first = source.line.saturating_sub(AROUND).max(1);
    let skip = usize::try_from(first - 1).ok()?;
    let take = usize::try_from(source.line.checked_add(AROUND)?.checked_sub(first)?).ok()? + 1;
    let lines = file.split(|byte| *byte == b'\n').skip(skip).take(take);
    let lines: Vec<String> = lines
        .map(|line| {
            let line = String::from_utf8_lossy(line).replace('\t', "    ");
            let line = line.trim_end();
            if line.is_empty() { String::new() } else { text::shown(line, WIDTH) }
        })
        .collect();
    let is_there = lines.len() > usize::try_from(source.line - first).ok()?;
    is_there.then_some((first, lines))
}

/// Further in than the first they are there for who wants them.
fn source_lines(source: &Source, (first, lines): &(u32, Vec<String>), open: bool) -> Markup {
    html! {
        details.source open[open] {
            summary { "source" }
            pre {
                @for (line, number) in lines.iter().zip(*first..) {
                    @let here = number == source.line;
                    span.line.here[here] {
                        (format!("{}{number:>5} ", if here { '\u{25b6}' } else { ' ' })) (line) "\n"
                    }
                }
            }
        }
    }
}

pub(super) fn registers(report: &Report<'_, '_>) -> Markup {
    let it = report.explanation;
    let s = &it.system;
    let system = [
        ("cr0", s.cr0),
        ("cr2", s.cr2),
        ("cr3", s.cr3),
        ("cr4", s.cr4),
        ("efer", s.efer),
        ("cs", s.cs.selector.into()),
        ("ss", s.ss.selector.into()),
        ("gdt", s.gdt.base),
        ("idt", s.idt.base),
    ];
    html! {
        @let open = it.show_registers && !it.normal;
        details open[open] {
            summary { "General and system registers" }
            dl.registers {
                @for (name, value) in registers::named(&it.registers).into_iter().chain(system) {
                    div { dt { (name) } dd { code { (format!("{value:#018x}")) } } }
                }
            }
        }
        details open[open] {
            summary { "Where addresses lead, table by table" }
            dl.walks {
                @for (name, address) in walked(report) {
                    dt { (name) " " code { (format!("{address:#x}")) } }
                    dd { code { (space(report).walk(address)) } }
                }
            }
            p.note { "By the guest's page tables as they were at its end." }
        }
    }
}

/// The addresses whose way is of interest.
fn walked(report: &Report<'_, '_>) -> Vec<(&'static str, u64)> {
    let registers = &report.outcome.registers;
    let mut all = vec![("RIP", registers.rip), ("RSP", registers.rsp)];
    if let End::Exception(exception) = &report.outcome.end
        && exception.vector == 14
    {
        all.push(("CR2", report.explanation.system.cr2));
    }
    all
}

pub(super) fn space<'a>(report: &Report<'a, '_>) -> Space<'a> {
    Space {
        memory: report.vm.memory(),
        layout: report.vm.layout(),
        image: report.image,
        cr3: report.explanation.system.cr3,
    }
}
