//! A report as one page: HTML 5 with its plots as inline SVG. It loads nothing, runs nothing (its
//! policy allows its own style and no more), and is read on a telephone, on a wide screen, in the
//! dark and on paper.
//!
//! All text goes in by maud, which escapes it; what is not seen in a text is shown first
//! (text.rs). Places in plots are in percent of their width, so that text keeps its size
//! where the page is narrow.

mod axis;
mod comparison;
mod distribution;
mod measured;
mod plot;
mod shares;
mod story;

pub use comparison::comparison;

use crate::figures::{Line, lines};
use crate::report::Report;
use crate::text::{self, shown};
use crate::{units, words};
use ::page::{Page, Section};
use maud::{Markup, html};
use plot::{Group, Lane, Shape};

/// What these pages look like besides.
const STYLE: &str = include_str!("page/style.css");

/// How many rows a page takes: a file may say that there are any number.
const MOST_ROWS: usize = 300;

/// The page of a report.
#[must_use]
pub fn report(report: &Report) -> String {
    let all = lines(report);
    let shown_lines = &all[..all.len().min(MOST_ROWS)];
    let mut warnings = words::warnings(report, &all);
    if all.len() > MOST_ROWS {
        warnings.push(format!("CUT: only {MOST_ROWS} of {} rows are on this page.", all.len()));
    }
    let groups = groups(shown_lines);
    let machine = format!(
        "{}, Linux {}, {}",
        shown(&report.machine.cpu, text::SENTENCE),
        shown(&report.machine.kernel, text::NAME),
        shown(&report.machine.kvm, text::NAME),
    );
    let began = shown(&report.began, text::NAME);
    let subtitle = html! {
        p.machine { bdi { (machine) } }
        p.when {
            "Measured " time { bdi { (began) } } ", in " (units::digits(report.seconds)) " s, by portcall "
            bdi { (shown(&report.version, text::NAME)) } "."
        }
    };
    let sections = [
        Section::new("summary", "In short", story::of(shown_lines)),
        Section::new("rows", "All ways out on one scale", rows(&groups)),
        Section::new("distributions", "How each is distributed", distribution::all(shown_lines)),
        Section::new("shares", "Where the time goes", shares::all(shown_lines)),
        Section::new("figures", "All figures", measured::table(shown_lines)),
        Section::new("machine", "The machine", measured::machine(report)),
        Section::new("method", "How it was measured", measured::method(report, shown_lines)),
    ];
    document("What leaving a guest costs", &subtitle, &warnings, &sections)
}

fn document(title: &str, subtitle: &Markup, warnings: &[String], sections: &[Section]) -> String {
    Page { title, subtitle, warnings, sections, style: STYLE, script: None }.document()
}

fn rows(groups: &[Group]) -> Markup {
    html! {
        p.legend {
            (plot::key("s0", Shape::Dot, "ring 0"))
            (plot::key("s1", Shape::Diamond, "ring 3"))
            span { "mark: p50, on its 95% interval where that is wider" }
            span { "bar: p10 to p90" }
            span { "tick: p99" }
        }
        (plot::lanes("Time an operation, on a logarithmic scale", groups))
    }
}

/// Rows of one name and image stand together, in the order in which they came.
fn groups(lines: &[Line<'_>]) -> Vec<Group> {
    together(lines)
        .into_iter()
        .map(|lines| Group {
            name: lines[0].name.clone(),
            below: lines[0].image.clone(),
            remark: None,
            lanes: lines.into_iter().map(lane).collect(),
        })
        .collect()
}

/// The lines of each name and image.
fn together<'a, 'b>(lines: &'b [Line<'a>]) -> Vec<Vec<&'b Line<'a>>> {
    let mut groups: Vec<Vec<&Line<'_>>> = Vec::new();
    for line in lines {
        let key = |it: &Line<'a>| (&it.row.name, &it.row.image);
        match groups.iter_mut().find(|group| key(group[0]) == key(line)) {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    groups
}

fn lane(line: &Line<'_>) -> Lane {
    let ring = line.row.ring;
    let (class, shape) = style(ring);
    Lane::of(line, format!("ring {ring}"), class, shape)
}

/// How a ring is drawn.
const fn style(ring: u8) -> (&'static str, Shape) {
    match ring {
        0 => ("s0", Shape::Dot),
        3 => ("s1", Shape::Diamond),
        _ => ("s2", Shape::Square),
    }
}

/// A time as a page has it: the unit stays on the line of its number.
fn time(nanoseconds: f64) -> String {
    let text = units::time(nanoseconds, None);
    match text.split_once(' ') {
        Some((value, "us")) => format!("{value}\u{a0}\u{b5}s"),
        Some((value, unit)) => format!("{value}\u{a0}{unit}"),
        None => text,
    }
}
