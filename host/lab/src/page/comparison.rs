//! Two reports as one page.

use super::document;
use super::measured::{self, scrolled};
use super::plot::{self, Group, Lane, Shape, noisy};
use super::{MOST_ROWS, time};
use crate::compare::{Comparison, Pair, Verdict, change};
use crate::figures::{Line, lines};
use crate::report::Report;
use crate::text::{self, shown};
use ::page::Section;
use maud::{Markup, html};

const SIDES: [(&str, &str, Shape); 2] = [("A", "s0", Shape::Dot), ("B", "s1", Shape::Diamond)];

/// The page of a comparison.
#[must_use]
pub fn comparison(comparison: &Comparison<'_>) -> String {
    let pairs = &comparison.pairs[..comparison.pairs.len().min(MOST_ROWS)];
    let mut warnings = comparison.warnings.clone();
    if comparison.pairs.len() > MOST_ROWS {
        let all = comparison.pairs.len();
        warnings.push(format!("CUT: only {MOST_ROWS} of {all} rows are on this page."));
    }
    let subtitle = html! {
        @for ((name, class, shape), report) in SIDES.iter().zip(comparison.sides) {
            p.machine { (plot::key(class, *shape, name)) ": " bdi { (run(report)) } }
        }
    };
    let groups: Vec<Group> = pairs.iter().map(group).collect();
    let rows = html! {
        p.legend {
            (plot::key("s0", Shape::Dot, "A"))
            (plot::key("s1", Shape::Diamond, "B"))
            span { "mark: p50, on its 95% interval where that is wider" }
            span { "bar: p10 to p90" }
            span { "tick: p99" }
        }
        (plot::lanes("Time an operation, on a logarithmic scale", &groups))
    };
    let short = html! { @for it in comparison.sentences() { p.story { (it) } } };
    let sections = [
        Section::new("unlike", "What is not the same", unlike(comparison)),
        Section::new("summary", "In short", short),
        Section::new("rows", "Rows side by side", rows),
        Section::new("figures", "All figures", table(pairs)),
        Section::new("method", "How both were measured", method(comparison)),
    ];
    document("What leaving a guest costs, twice", &subtitle, &warnings, &sections)
}

fn method(comparison: &Comparison<'_>) -> Markup {
    html! {
        @for ((name, ..), report) in SIDES.iter().zip(comparison.sides) {
            h3 { (name) }
            (measured::machine(report))
            (measured::method(report, &lines(report)))
        }
    }
}

fn run(report: &Report) -> String {
    format!(
        "{}, {}, {}",
        shown(&report.machine.cpu, text::SENTENCE),
        shown(&report.machine.kvm, text::NAME),
        shown(&report.began, text::NAME),
    )
}

fn unlike(comparison: &Comparison<'_>) -> Markup {
    if comparison.unlike.is_empty() {
        return html! { p { "The machines are described alike: processor, kernel, KVM, mitigations." } };
    }
    let table = html! {
        table.words {
            caption { "What the two reports say of their machines and runs" }
            thead { tr { th scope="col" { "What" } th scope="col" { "A" } th scope="col" { "B" } } }
            tbody {
                @for (what, sides) in &comparison.unlike {
                    tr {
                        th scope="row" { bdi { (what) } }
                        @for side in sides { td.text { bdi { (side) } } }
                    }
                }
            }
        }
    };
    scrolled("What is not the same", &table)
}

fn group(pair: &Pair<'_>) -> Group {
    let verdict = pair.verdict();
    let class = if verdict.is_difference() { "differs" } else { "same" };
    let words = match &verdict {
        Verdict::Both { ratio, .. } => format!("{}, {}", change(*ratio), verdict.words()),
        _ => verdict.words(),
    };
    let lanes = SIDES.into_iter().zip(&pair.sides).map(|((name, class, shape), line)| match line {
        Some(line) => Lane::of(line, name.to_owned(), class, shape),
        None => Lane::missing(name.to_owned(), class, "this report has no such row"),
    });
    Group {
        name: pair.name(),
        below: Some(format!("ring {}", pair.ring())),
        remark: Some((class, words)),
        lanes: lanes.collect(),
    }
}

fn table(pairs: &[Pair<'_>]) -> Markup {
    let columns = [
        "Row",
        "Ring",
        "A: p50",
        "95% interval",
        "B: p50",
        "95% interval",
        "B over A",
        "Which means",
    ];
    let table = html! {
        table.figures {
            caption { "Times are an operation's. Medians differ if their intervals have nothing in common." }
            thead { tr { @for name in columns { th scope="col" { (name) } } } }
            tbody {
                @for pair in pairs {
                    @let verdict = pair.verdict();
                    tr {
                        th scope="row" { bdi { (pair.name()) } }
                        td { (pair.ring()) }
                        @for line in &pair.sides { (side(line.as_ref())) }
                        td { (change(verdict.ratio())) }
                        td.text.differs[verdict.is_difference()] { (verdict.words()) }
                    }
                }
            }
        }
    };
    scrolled("All figures", &table)
}

fn side(line: Option<&Line<'_>>) -> Markup {
    let Some(line) = line else { return html! { td.why colspan="2" { "not there" } } };
    match &line.content {
        Err(nothing) => {
            html! { td.why colspan="2" { b { (nothing.word) } ": " bdi { (nothing.why) } } }
        }
        Ok(figures) => html! {
            td { (time(figures.summary.median)) @if line.is_noisy() { " " (noisy()) } }
            td {
                @match figures.summary.interval {
                    Some((low, high)) => { (time(low)) " to " (time(high)) }
                    None => "\u{2013}",
                }
            }
        },
    }
}
