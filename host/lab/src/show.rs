//! A report as a table on a terminal, or in a file.

use crate::figures::{Figures, Line, lines, total};
use crate::report::{Clock, Report};
use crate::text::{self, shown};
use crate::units::{Unit, digits, percent, time, times};
use crate::words;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use unicode_width::UnicodeWidthStr;

/// From how many columns on all stands in one table; below, where time goes is a second one.
const WIDE: usize = 132;
/// Below, columns stand closer.
const NARROW: usize = 100;
/// Less is not fitted to.
const NARROWEST: usize = 60;
/// The columns of a name where there are few.
const SHORT: usize = 16;

/// The table, with what has to be said of it below, in lines of at most `width` columns (0 where
/// there is no terminal to fit to). Spread is p90 over p10; the interval is p50's.
#[must_use]
pub fn table(report: &Report, width: usize) -> String {
    let width = usable(width);
    let lines = lines(report);
    let medians: Vec<f64> =
        lines.iter().filter_map(Line::figures).map(|it| it.summary.median).collect();
    let unit = Unit::for_all(&medians);
    let mut text = if width >= WIDE {
        fitted(
            &head(&[TIMES, SHARES], unit),
            lines.iter().map(|it| cells(it, unit, true, true)),
            width,
        )
    } else {
        let times = lines.iter().map(|it| cells(it, unit, true, false));
        let with = lines.iter().filter(|it| it.content.is_ok());
        let shares = with.map(|it| cells(it, unit, false, true));
        let (times, shares) = (
            fitted(&head(&[TIMES], unit), times, width),
            fitted(&head(&[SHARES], unit), shares, width),
        );
        format!("{times}\n{shares}\n{}", reasons(&lines, width))
    };
    text.push('\n');
    let warnings = words::warnings(report, &lines);
    for sentence in warnings.into_iter().chain(below(report, &lines)) {
        text.push_str(&folded(&sentence, width));
    }
    text
}

/// What is fitted to where a terminal has `width` columns; 0 is none.
pub(crate) const fn usable(width: usize) -> usize {
    match width {
        0 => 200,
        1..NARROWEST => NARROWEST,
        width => width,
    }
}

const TIMES: &[&str] = &["p50", "p90", "p99", "p90/p10", "95% of p50"];
const SHARES: &[&str] = &["instr.", "exits", "KVM", "kernel", "ours", "notes"];

fn head(parts: &[&[&'static str]], unit: Option<Unit>) -> Vec<String> {
    let first = ["row", "ring"].iter();
    let names = first.chain(parts.iter().copied().flatten());
    let with_unit = |name: &&'static str| match (*name, unit) {
        ("p50" | "p90" | "p99" | "95% of p50", Some(unit)) => format!("{name}, {}", unit.name()),
        _ => (*name).to_owned(),
    };
    names.map(with_unit).collect()
}

/// A row's cells, in the order of the head.
fn cells(line: &Line<'_>, unit: Option<Unit>, has_times: bool, has_shares: bool) -> Vec<String> {
    let name = if has_times && has_shares { text::NAME / 2 } else { SHORT };
    let mut cells = vec![shown(&line.row.name, name), line.row.ring.to_string()];
    match &line.content {
        Ok(figures) => {
            if has_times {
                cells.extend(times_of(figures, unit));
            }
            if has_shares {
                cells.extend(shares_of(figures));
                cells.push(notes(line, figures));
            }
        }
        Err(nothing) => {
            if has_times {
                cells.push(nothing.word.to_owned());
                cells.extend((1..TIMES.len()).map(|_| String::new()));
            }
            if has_shares {
                cells.extend((1..SHARES.len()).map(|_| String::new()));
                cells.push(format!("{}: {}", nothing.word, nothing.why));
            }
        }
    }
    cells
}

fn times_of(figures: &Figures<'_>, unit: Option<Unit>) -> [String; 5] {
    let summary = &figures.summary;
    let interval = summary.interval.map_or_else(
        || "-".to_owned(),
        |(low, high)| format!("{} to {}", time(low, unit), time(high, unit)),
    );
    let spread = figures.spread().map_or_else(|| "-".to_owned(), times);
    [time(summary.median, unit), time(summary.p90, unit), time(summary.p99, unit), spread, interval]
}

fn shares_of(figures: &Figures<'_>) -> Vec<String> {
    let instructions = figures.instructions.map_or_else(|| "-".to_owned(), digits);
    let shares = figures.shares.map_or_else(
        || ["-"; 4].map(str::to_owned),
        |it| {
            let share = |part: f64| percent(part / total(&it));
            let of_exits = |part: f64| if it.exits > 0.0 { share(part) } else { "-".to_owned() };
            [digits(it.exits), share(it.kvm), of_exits(it.kernel), of_exits(it.ours)]
        },
    );
    [instructions].into_iter().chain(shares).collect()
}

/// Why rows have no figures, where a column would be too narrow for it.
fn reasons(lines: &[Line<'_>], width: usize) -> String {
    let reason = |line: &Line<'_>| {
        let nothing = line.content.as_ref().err()?;
        Some(folded(&format!("{}: {}: {}", line.title(), nothing.word, nothing.why), width))
    };
    lines.iter().filter_map(reason).collect()
}

/// What else there is to say, short.
fn notes(line: &Line<'_>, figures: &Figures<'_>) -> String {
    let mut notes = Vec::new();
    if !figures.noise.is_empty() {
        notes.push(format!("noisy: {}", figures.noise.join(", ")));
    }
    if figures.summary.interval.is_none() {
        notes.push(text::count(figures.rounds.len(), "round"));
    }
    if figures.is_at_step {
        notes.push("at the clock's step".to_owned());
    }
    if figures.summary.count < 100 {
        notes.push("p99 is its maximum".to_owned());
    }
    if let Some(late) = &figures.late {
        notes.push(format!("then {late}"));
    }
    if figures.measured.clock == Clock::Host {
        notes.push("host's clock".to_owned());
    }
    if let Some(image) = &line.image {
        notes.push(format!("of {image}"));
    }
    notes.join("; ")
}

/// A table of at most `width` columns, texts to the left and numbers to the right.
pub(crate) fn fitted(
    head: &[String],
    rows: impl Iterator<Item = Vec<String>>,
    width: usize,
) -> String {
    /// Columns of texts.
    const TEXTS: [&str; 3] = ["row", "notes", "which means"];
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX))
        .set_header(head);
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new).collect::<Vec<_>>());
    }
    for (column, name) in table.column_iter_mut().zip(head) {
        column.set_padding((0, if width < NARROW { 1 } else { 2 }));
        if !TEXTS.contains(&name.as_str()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// Machine and measurement.
fn below(report: &Report, lines: &[Line<'_>]) -> Vec<String> {
    let machine = words::machine(report);
    let mut said: Vec<String> =
        machine.iter().map(|(what, words)| format!("{what}: {words}")).collect();
    said.extend(words::measurement(report, lines, |it| time(it, None)));
    said.push(format!(
        "Began {}, took {} s; portcall {}.",
        shown(&report.began, text::NAME),
        digits(report.seconds),
        shown(&report.version, text::NAME),
    ));
    said
}

/// In lines of that width, further ones set in.
pub(crate) fn folded(sentence: &str, width: usize) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in sentence.split(' ').filter(|it| !it.is_empty()) {
        if column > 0 && column + 1 + word.width() > width {
            text.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        // Nothing that is longer than a line is a word of ours.
        let word = shown(word, width - column);
        text.push_str(&word);
        column += word.width();
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_row_is_there_and_says_why_it_has_no_figures() {
        let report = sample::report(1);
        for width in [0, 80, 120, 200] {
            let text = table(&report, width);
            for row in &report.rows {
                let is_row = |line: &&str| {
                    let words: Vec<&str> = line.split_ascii_whitespace().take(2).collect();
                    words[..] == [row.name.as_str(), &row.ring.to_string()]
                };
                let count = text.lines().filter(is_row).count();
                let is_one = width == 0 || width >= WIDE || row.measured().is_none();
                let tables = if is_one { 1 } else { 2 };
                assert_eq!(count, tables, "{} at {width}:\n{text}", row.name);
            }
            for said in ["wedged", "lacking", "meaningless", "KVM_CAP_COALESCED_MMIO", "noisy"] {
                assert!(text.contains(said), "{said} at {width}:\n{text}");
            }
        }
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        for report in [sample::report(1), sample::hostile(), sample::absurd()] {
            for width in (80..=200).step_by(13) {
                let text = table(&report, width);
                let longest = text.lines().max_by_key(|it| it.width()).unwrap_or_default();
                assert!(longest.width() <= width, "{width}: {} {longest:?}", longest.width());
                assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_run_is_said() {
        let mut report = sample::report(1);
        let text = table(&report, 120);
        assert!(!text.contains("BUSY") && !text.contains("QUICK"), "{text}");
        report.interrupted = true;
        report.quick = true;
        report.machine.load.stolen = Some(0.3);
        report.machine.load.worst =
            Some(measures::machine::Stretch { from: 12.2, to: 13.4, others: 0.5, stolen: 0.0 });
        report.rows[4].finding = crate::report::Finding::NotReached;
        let text = table(&report, 200);
        for said in [
            "INTERRUPTED",
            "QUICK",
            "BUSY: ",
            "30%",
            "PART: worst from second 12.2 to 13.4",
            "took 50%",
            "NOISY: 2 rows (ring-polled",
            "not reached",
        ] {
            assert!(text.contains(said), "{said}:\n{text}");
        }
    }

    #[test]
    fn two_spaces_are_one_and_no_word() {
        assert_eq!(folded("it  said:  no ", 80), "it said: no\n");
        assert_eq!(folded("", 80), "\n");
        assert_eq!(folded("one  two", 5), "one\n  two\n");
    }

    #[test]
    fn timer_warm_up_and_rounds_are_stated() {
        let text = table(&sample::report(1), 200);
        for said in [
            "It takes 1.02 us itself",
            "It takes 48.0 ns itself",
            "right before and right behind it; within a row",
            "once in each round, behind the warm-up, and subtracted from all of the round's samples",
            "first 20 samples",
            "Rounds: 8 a row, of 200",
        ] {
            assert!(text.contains(said), "{said}:\n{text}");
        }
    }
}
