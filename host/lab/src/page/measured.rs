//! All figures as a table, the machine, and the method.

use super::plot::noisy;
use super::time;
use crate::figures::{Figures, Line, total};
use crate::report::{Machine, Report};
use crate::units::{digits, percent, times};
use crate::words;
use maud::{Markup, html};

const COLUMNS: [&str; 15] = [
    "Row",
    "Ring",
    "p50",
    "95% interval of p50",
    "p10",
    "p90",
    "p99",
    "p90/p10",
    "Instructions",
    "Exits",
    "KVM",
    "Kernel",
    "Ours",
    "Rounds\u{a0}\u{d7} samples",
    "Notes",
];

/// A table that scrolls in itself.
pub(super) fn scrolled(label: &str, table: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(label) { (table) } }
}

pub(super) fn table(lines: &[Line<'_>]) -> Markup {
    let table = html! {
        table.figures {
            caption { "Times, guest instructions and exits are an operation's; shares are of its time." }
            thead { tr { @for name in COLUMNS { th scope="col" { (name) } } } }
            tbody { @for line in lines { (row(line)) } }
        }
    };
    scrolled("All figures", &table)
}

fn row(line: &Line<'_>) -> Markup {
    html! {
        tr.noisy-row[line.is_noisy()] {
            th scope="row" { bdi { (line.name) } }
            td { (line.row.ring) }
            @match &line.content {
                Ok(figures) => (cells(line, figures)),
                Err(nothing) => td.why colspan="13" { b { (nothing.word) } ": " bdi { (nothing.why) } },
            }
        }
    }
}

fn cells(line: &Line<'_>, figures: &Figures<'_>) -> Markup {
    let it = &figures.summary;
    let dash = || "\u{2013}".to_owned();
    let interval =
        it.interval.map_or_else(dash, |(low, high)| format!("{} to {}", time(low), time(high)));
    let shares = figures.shares.map_or_else(
        || [dash(), dash(), dash(), dash()],
        |it| {
            let share = |part: f64| percent(part / total(&it));
            let of_exits = |part: f64| if it.exits > 0.0 { share(part) } else { dash() };
            [digits(it.exits), share(it.kvm), of_exits(it.kernel), of_exits(it.ours)]
        },
    );
    let numbers = [
        time(it.median),
        interval,
        time(it.p10),
        time(it.p90),
        time(it.p99),
        figures.spread().map_or_else(dash, times),
        figures.instructions.map_or_else(dash, digits),
    ];
    html! {
        @for number in numbers.iter().chain(&shares) { td { (number) } }
        td { (figures.rounds.len()) " \u{d7} " (figures.samples_a_round()) }
        td.notes {
            @if line.is_noisy() { div { (noisy()) " " (figures.noise.join(", ")) } }
            @if figures.is_at_step { div { "at the clock's step" } }
            @if it.count < 100 { div { "p99 is its maximum" } }
            @if let Some(late) = &figures.late { div { "then " bdi { (late) } } }
            @if let Some(image) = &line.image { div { "of " bdi { (image) } } }
        }
    }
}

pub(super) fn machine(report: &Report) -> Markup {
    html! {
        dl.machine {
            @for (what, said) in words::machine(report) { dt { (what) } dd { bdi { (said) } } }
        }
        (mitigations(&report.machine))
    }
}

fn mitigations(machine: &Machine) -> Markup {
    let all = words::mitigations(machine);
    let table = html! {
        table.words {
            caption { "Vulnerabilities of the processor, and what this kernel does about them" }
            thead { tr { th scope="col" { "Vulnerability" } th scope="col" { "The kernel's words" } } }
            tbody {
                @for (name, said) in &all {
                    tr { th scope="row" { bdi { (name) } } td.text { bdi { (said) } } }
                }
            }
        }
    };
    if all.is_empty() {
        return html! { p { "The kernel says nothing of mitigations." } };
    }
    scrolled("Mitigations", &table)
}

pub(super) fn method(report: &Report, lines: &[Line<'_>]) -> Markup {
    html! { ul { @for sentence in words::measurement(report, lines, time) { li { (sentence) } } } }
}
