//! What the host did: the twelve steps, and the exits by what they were.

use super::picture::{bar, key};
use super::seen::{Seen, Sum};
use super::{NAME, Report, grouped, guests, percent, time};
use ::page::text;
use maud::{Markup, html};
use portcall::exit::ExitKind;

/// The most lines of a step's detail, and of different exits.
const LINES: usize = 200;
const SUMS: usize = 60;

pub(super) fn steps(seen: &Seen) -> Markup {
    let mut rows: Vec<(u8, String, String, u64)> = seen
        .steps
        .iter()
        .map(|it| (it.number, it.what.to_string(), it.detail.to_string(), it.until - it.at))
        .collect();
    let at = rows.iter().position(|it| it.0 > 10).unwrap_or(rows.len());
    let of = |number: u64, noun: &str| format!("{} {noun}{}", grouped(number), s(number));
    let run = of(seen.all.count + seen.stops.count, "time") + ", until an exit or a stop each";
    let answers = of(seen.all.count, "exit") + " answered";
    rows.insert(at, (10, "KVM_RUN".to_owned(), run, seen.in_guest()));
    rows.insert(at + 1, (11, "the host's answers".to_owned(), answers, seen.all.host));
    let longest = rows.iter().map(|it| it.3).max().unwrap_or(0);
    html! {
        div.scroll { table.steps {
            caption { "In the order in which they were done; the bar is to the scale of the longest" }
            thead { tr {
                th scope="col" { "step" } th.text scope="col" { "ioctl, or what else" }
                th scope="col" { "time" } th.wide.text scope="col" { "time, drawn" } th.text scope="col" { "arguments and result" }
            } }
            tbody { @for (number, what, detail, took) in &rows { tr {
                th scope="row" { (number) }
                td.text { (guests(what, NAME)) }
                td { (time(*took)) }
                td.wide { (bar(&[(if *number == 10 { "guest" } else { "host" }, percent(*took, longest))])) }
                td.text { (details(detail)) }
            } } }
        } }
    }
}

/// Its first line, and the rest for who wants it.
fn details(detail: &str) -> Markup {
    let (lines, more) = text::lines(detail, LINES, NAME);
    let (first, rest) = lines.split_first().map_or(("", &[][..]), |(a, b)| (a.as_str(), b));
    html! {
        @if rest.is_empty() { (first) } @else {
            details {
                summary { (first) }
                pre { (rest.join("\n")) @if more > 0 { "\n\u{2026} and " (more) " more lines" } }
            }
        }
    }
}

pub(super) fn exits(report: &Report<'_, '_>, seen: &Seen) -> Markup {
    let sums = seen.sums();
    let (shown, rest) = sums.split_at(sums.len().min(SUMS));
    // Columns add up to what stands below them: what has no row of its own is one together.
    let others = rest.iter().fold(seen.others.clone(), |sum, it| sum.with(it));
    let all = &seen.all;
    let each = shown.iter().copied().chain([&others]);
    let longest = each.map(|it| it.guest + it.host).max().unwrap_or(0);
    let made = report.outcome.stats.exits();
    html! {
        p {
            b { (grouped(made)) } " exit" (s(made)) " of the guest's; "
            b { (time(seen.in_guest())) } " in the guest (KVM_RUN) and "
            b { (time(all.host)) } " in the host's answers"
            @match report.instructions {
                Some(count) => { "; KVM emulated " b { (grouped(count)) } " instructions." },
                None if report.outcome.stats.exits_of(ExitKind::Debug) > 0 => {
                    "; the instructions that KVM emulated are not told, since those for breakpoints and \
                     steps would be among them."
                },
                None => { "; this KVM does not count the instructions that it emulates." },
            }
        }
        @if seen.stops.count > 0 { p {
            b { (grouped(seen.stops.count)) } " times it was " b { "stopped by the host itself" }
            ", for samples, breakpoints and to show its text, and held for " b { (time(seen.stops.host)) }
            ". That is nobody's time here: the clock of this page stands still in it."
        } }
        p.legend { (key("guest", "in the guest, before the exit")) (key("host", "in the host, to answer it")) }
        div.scroll { table {
            caption { "By what they were, those that took longest first" }
            thead { tr {
                th scope="col" { "exit" } th scope="col" { "count" } th scope="col" { "guest" }
                th scope="col" { "host" } th scope="col" { "longest answer" } th.wide.text scope="col" { "time, drawn" }
            } }
            tbody {
                @for sum in shown { (row(sum, &sum.name, longest)) }
                @if others.count > 0 { (row(&others, "all others", longest)) }
                (row(all, "all", 0))
            }
            @if seen.stops.count > 0 { tbody.apart {
                @let stops = Sum { guest: seen.behind(), ..seen.stops.clone() };
                (row(&stops, super::STOPS, 0))
            } }
        } }
        @if others.count > 0 { p.note {
            "All others are " (if seen.others.count > 0 { "more than " } else { "" }) (text::count(rest.len(), "kind")) "."
        } }
    }
}

const fn s(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}

fn row(sum: &Sum, name: &str, longest: u64) -> Markup {
    html! { tr {
        th scope="row" { (guests(name, 64)) }
        td { (grouped(sum.count)) }
        td { (time(sum.guest)) } td { (time(sum.host)) } td { (time(sum.longest)) }
        td.wide { @if longest > 0 {
            (bar(&[("guest", percent(sum.guest, longest)), ("host", percent(sum.host, longest))]))
        } }
    } }
}
