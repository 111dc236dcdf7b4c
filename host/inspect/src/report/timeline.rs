//! The run in time: exits in bins, and the first and last of them one by one. A picture in which one
//! unit of its width is a hundred-thousandth of the run: the page's script zooms by drawing a part of it anew.

use super::bins::Class;
use super::picture::key;
use super::seen::{Seen, class_of};
use super::{Report, grouped, guests, time};
use crate::trace::format::{Subject, describe};
use crate::trace::names::Names;
use crate::trace::record::Turn;
use crate::trace::spans::Span;
use ::page::text;
use maud::{Markup, html};
use std::fmt::Write;

/// The width of the whole run, in the picture's units.
const WIDTH: f64 = 100_000.0;
/// Where things stand, in pixels from above.
const COLUMNS: f64 = 90.0;
const SHARES: (f64, f64) = (104.0, 24.0);
const EACH: (f64, f64) = (142.0, 24.0);
const SPANS: f64 = 180.0;
const SPAN: f64 = 16.0;
/// How many spans in one another have rows.
const DEEPEST: usize = 8;
/// How many times stand below.
const MARKS: u64 = 5;

/// From times to places.
#[derive(Clone, Copy)]
struct Scale {
    start: u64,
    length: u64,
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
    fn place(self, at: u64) -> f64 {
        (at.saturating_sub(self.start) as f64 / self.length as f64 * WIDTH).min(WIDTH)
    }
}

pub(super) fn all(report: &Report<'_, '_>, seen: &Seen) -> Markup {
    let (start, end) = seen.span();
    if end <= start {
        return html! { p.note { "The guest made no exit." } };
    }
    let scale = Scale { start, length: end - start };
    let open = seen.open();
    let spans: Vec<&Span> = seen.over.iter().chain(&open).collect();
    let rows = spans.iter().map(|it| it.depth + 1).max().unwrap_or(0).min(DEEPEST);
    let height = if rows > 0 {
        SPANS + f64::from(u8::try_from(rows).unwrap_or(8)) * SPAN
    } else {
        EACH.0 + EACH.1
    };
    let used = |class: &Class| seen.bins.bins.iter().any(|bin| bin.exits[*class as usize] > 0);
    html! {
        p.legend {
            @for class in Class::ALL.into_iter().filter(used) { (key(class.names().0, class.names().1)) }
            (key("guest", "in the guest"))
            (key("host", "in the host"))
            @if !spans.is_empty() { (key("span", "the guest's spans")) }
        }
        p.note {
            "From above: exits in each " (time(seen.bins.width)) "; how that time was shared; "
            @if seen.between() > 0 {
                "the first " (grouped(seen.first.len() as u64)) " and the last " (grouped(seen.last.len() as u64))
                " exits one by one (" (grouped(seen.between())) " between them are in the bins alone)"
            } @else { "each exit" }
            @if !spans.is_empty() { "; the guest's spans" }
            "."
        }
        p.controls hidden {
            button type="button" data-zoom="in" { "zoom in" } " "
            button type="button" data-zoom="out" { "zoom out" } " "
            button type="button" data-zoom="left" { "earlier" } " "
            button type="button" data-zoom="right" { "later" } " "
            button type="button" data-zoom="all" { "all" } " "
            span.note { "or drag over a part; keys + \u{2212} \u{2190} \u{2192} 0" }
        }
        div.frame {
            svg #timeline-picture width="100%" height=(height) role="img" aria-labelledby="timeline-picture-title"
                preserveAspectRatio="none" viewBox={ "0 0 " (WIDTH) " " (height) }
                data-start="0" data-length=(scale.length) {
                title #timeline-picture-title { "Exits of the run over its time; the tables have them in words" }
                (columns(seen, scale))
                (each(seen, scale))
                (spans_drawn(&spans, scale))
            }
            svg.axis width="100%" height="18" aria-hidden="true" {
                @for i in 0..=MARKS {
                    text x={ (i * 100 / MARKS) "%" } y="13"
                        text-anchor=(if i == 0 { "start" } else if i == MARKS { "end" } else { "middle" })
                        { (time(scale.length / MARKS * i)) }
                }
            }
        }
        p #timeline-words .note aria-live="polite" hidden { "Point at the picture." }
        (table(report, seen, scale))
        (spans_table(&spans, seen.spans_dropped, scale))
    }
}

/// A rectangle as a piece of a path.
fn rectangle(path: &mut String, (x, width): (f64, f64), (y, height): (f64, f64)) {
    // Writing to a String does not fail.
    let _ = write!(path, "M{x:.5} {y:.1}h{width:.5}v{height:.1}h-{width:.5}z");
}

/// Bins: how many exits, above each other by class, and whose the time was.
#[expect(clippy::cast_precision_loss, reason = "heights in a picture")]
fn columns(seen: &Seen, scale: Scale) -> Markup {
    let most = seen.bins.bins.iter().map(super::bins::Bin::total).max().unwrap_or(0).max(1) as f64;
    let mut paths = vec![String::new(); Class::ALL.len()];
    let (mut guest, mut host) = (String::new(), String::new());
    for (bin, i) in seen.bins.bins.iter().zip(0..) {
        let from = scale.place(scale.start + i * seen.bins.width);
        let x = (from, scale.place(scale.start + (i + 1) * seen.bins.width) - from);
        let mut y = COLUMNS;
        for (path, count) in paths.iter_mut().zip(bin.exits).filter(|(_, count)| *count > 0) {
            // One exit among thousands is seen as well.
            let height = (count as f64 / most * (COLUMNS - 6.0)).max(1.0);
            y -= height;
            rectangle(path, x, (y, height));
        }
        let all = (bin.guest + bin.host).max(1) as f64;
        let (top, height) = SHARES;
        let part = bin.host as f64 / all * height;
        if bin.guest + bin.host > 0 {
            rectangle(&mut guest, x, (top, height - part));
            rectangle(&mut host, x, (top + height - part, part));
        }
    }
    html! {
        @for (path, class) in paths.iter().zip(Class::ALL) {
            @if !path.is_empty() { path class=(class.names().0) d=(path) {} }
        }
        path.guest d=(guest) {}
        path.host d=(host) {}
    }
}

/// The exits that are kept: the time before each, and its answer.
fn each(seen: &Seen, scale: Scale) -> Markup {
    let mut paths = vec![String::new(); Class::ALL.len()];
    let mut guest = String::new();
    for turn in seen.events() {
        let [from, left, until] = [turn.entered, turn.left, turn.until].map(|at| scale.place(at));
        rectangle(&mut guest, (from, left - from), EACH);
        rectangle(&mut paths[class_of(turn) as usize], (left, until - left), EACH);
    }
    html! {
        path.guest d=(guest) {}
        @for (path, class) in paths.iter().zip(Class::ALL) {
            @if !path.is_empty() { path class={ "answer " (class.names().0) } d=(path) {} }
        }
    }
}

fn spans_drawn(spans: &[&Span], scale: Scale) -> Markup {
    html! {
        @for span in spans.iter().filter(|it| it.depth < DEEPEST) {
            @let (from, until) = (scale.place(span.begun), scale.place(span.ended));
            @let y = SPANS + f64::from(u8::try_from(span.depth).unwrap_or(8)) * SPAN;
            rect.span x=(format!("{from:.5}")) width=(format!("{:.5}", until - from))
                y=(y) height=(SPAN - 2.0) { title { (text::shown(&span.name, 48)) ", " (time(span.ended - span.begun)) } }
        }
    }
}

fn table(report: &Report<'_, '_>, seen: &Seen, scale: Scale) -> Markup {
    let subject = Subject { name: report.name, symbols: report.symbols, kind: report.kind };
    let mut names = Names::new(&subject);
    let stubs = &report.vm.layout().stubs;
    let events: Vec<(&Turn, String)> = seen
        .events()
        .map(|turn| {
            // A breakpoint's own stub is none of the guest's places.
            let is_stub = turn.rip.is_some_and(|rip| stubs.contains(&rip));
            if is_stub && class_of(turn) == Class::Stop {
                return (turn, "-".to_owned());
            }
            let place = names.at(turn).map(|(name, offset)| format!("{name} + {offset:#x}"));
            let place = place.or_else(|| turn.rip.map(|rip| format!("{rip:#x}")));
            (turn, place.unwrap_or_else(|| "-".to_owned()))
        })
        .collect();
    html! { details {
        summary { "Each exit that was kept, in words (" (grouped(events.len() as u64)) ")" }
        div.scroll { table #events {
            caption { "Times from the first KVM_RUN on" }
            thead { tr {
                th scope="col" { "at" } th scope="col" { "guest" } th scope="col" { "host" }
                th.text scope="col" { "exit" } th.text scope="col" { "where" }
            } }
            tbody { @for (i, (turn, place)) in events.iter().enumerate() {
                @if i == seen.first.len() && seen.between() > 0 { tr { td.text colspan="5" {
                    "\u{2026} " (grouped(seen.between())) " exits are left out here"
                } } }
                tr data-a=(turn.entered - scale.start) data-g=(turn.left - turn.entered) data-h=(turn.until - turn.left) {
                    td { (time(turn.entered - scale.start)) }
                    td { (time(turn.left - turn.entered)) } td { (time(turn.until - turn.left)) }
                    td.text { (guests(&words(turn), 100)) } td.text { (guests(place, 60)) }
                }
            } }
        } }
    } }
}

/// An exit in words.
fn words(turn: &Turn) -> String {
    match &turn.call {
        Some(call) if call.result.is_empty() => call.call.to_string(),
        Some(call) => format!("{} = {}", call.call, call.result),
        None => describe(turn),
    }
}

fn spans_table(spans: &[&Span], dropped: u64, scale: Scale) -> Markup {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|it| (it.begun, it.depth));
    html! { @if !spans.is_empty() { details {
        summary { "The guest's spans (" (grouped(spans.len() as u64)) ")" }
        div.scroll { table {
            caption { "In the order of their beginnings; deeper ones are set in" }
            thead { tr { th scope="col" { "span" } th scope="col" { "at" } th scope="col" { "time" } } }
            tbody { @for span in &spans { tr {
                th scope="row" { ("\u{a0}".repeat(2 * span.depth.min(DEEPEST))) (guests(&span.name, 48)) }
                td { (time(span.begun.saturating_sub(scale.start))) }
                td { (time(span.ended - span.begun)) @if span.open { ", never ended" } }
            } } }
        } }
        @if dropped > 0 { p.note { "\u{2026} and " (grouped(dropped)) " more spans" } }
    } } }
}
