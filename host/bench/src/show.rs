//! What was measured, in words.

use crate::result::{Measured, Report};
use crate::row::{Figure, Unit};
use measures::statistics::Summary;
use std::fmt::Write;

/// A number with as many places as say something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A figure with its unit, if it has one.
pub(crate) fn figure(row: &Measured, value: f64) -> String {
    let value = whole(row.unit, value);
    if row.kind == Figure::Ratio { value } else { format!("{value} {}", row.unit) }
}

/// Exits are whole, but for a median between two.
fn whole(unit: Unit, value: f64) -> String {
    if unit == Unit::Exits { format!("{value}") } else { number(value) }
}

/// The bounds of a median's interval.
pub(crate) fn interval(summary: &Summary) -> String {
    match summary.interval {
        Some((low, high)) => format!("{} to {}", number(low), number(high)),
        None => "too few for an interval".to_owned(),
    }
}

/// A row, some lines.
pub(crate) fn row(row: &Measured) -> String {
    let kind = match row.kind {
        Figure::Ratio => "ratio ",
        Figure::Difference => "difference ",
        Figure::Ours => "",
    };
    let mut text = format!("{}: {}\n", row.name, row.what);
    // Writing to a String does not fail, here and below.
    let _ = write!(text, "  {kind}{}", figure(row, row.figure.median));
    let _ = write!(
        text,
        " ({}; p10 {}, p90 {}; {} {})",
        interval(&row.figure),
        number(row.figure.p10),
        number(row.figure.p90),
        row.figure.count,
        if row.floor.is_some() { "pairs" } else { "rounds" },
    );
    let unit = row.unit;
    let _ = writeln!(text, "\n  ours {}", side(unit, &row.ours));
    if let Some(floor) = &row.floor {
        text.truncate(text.len() - 1);
        let _ = writeln!(text, ", bare {}", side(unit, floor));
    }
    if let Some(line) = instructions(row) {
        let _ = writeln!(text, "  {line}");
    }
    if let Some(line) = budget(row) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// A side's median; of times also how short they are where nothing came between.
fn side(unit: Unit, values: &Summary) -> String {
    let median = whole(unit, values.median);
    match unit {
        Unit::Microseconds | Unit::Milliseconds => {
            format!("{median} {unit} (p10 {})", number(values.p10))
        }
        _ => format!("{median} {unit}"),
    }
}

/// What KVM counted.
fn instructions(row: &Measured) -> Option<String> {
    let each = if row.unit == Unit::MebibytesPerSecond { "byte" } else { "call" };
    let ours = number(row.our_instructions?);
    let bare = row.floor_instructions.map_or(String::new(), |it| format!(", bare {}", number(it)));
    Some(format!("guest instructions that KVM emulated, a {each}: ours {ours}{bare}"))
}

/// What became of the budget.
fn budget(row: &Measured) -> Option<String> {
    let budget = row.budget?;
    let met = if row.is_met()? { "met" } else { "MISSED" };
    let sure = match row.figure.interval {
        None => ", by too few rounds to be sure",
        Some(_) if !row.is_sure() => ", but the interval has both sides of it",
        Some(_) => "",
    };
    Some(format!("budget {budget}: {met}{sure}"))
}

/// The last lines of a run.
pub(crate) fn summary(report: &Report) -> String {
    let of = |wanted: bool| {
        let rows = report.rows.iter().filter(|row| row.is_met() == Some(wanted));
        rows.map(|row| row.name.as_str()).collect::<Vec<_>>()
    };
    let (met, missed) = (of(true), of(false));
    let mut text = format!("{}\n", report.machine);
    if report.machine.is_busy() {
        text.push_str(
            "BUSY: others used this machine meanwhile. Ratios hold better than times, and \
             intervals say how well; what counts is measured on a quiet machine.\n",
        );
    }
    let _ = write!(text, "{} budgets met, {} missed", met.len(), missed.len());
    if !missed.is_empty() {
        let _ = write!(text, ": {}", missed.join(", "));
    }
    text.push('\n');
    text
}

/// Two runs side by side: what was saved, and now.
pub(crate) fn comparison(then: &Report, now: &Report) -> String {
    let mut text = String::new();
    let mut missing = Vec::new();
    for row in &now.rows {
        let Some(old) = then.rows.iter().find(|old| old.name == row.name) else {
            missing.push(row.name.as_str());
            continue;
        };
        let said = match old.figure.differs(&row.figure) {
            None => "too few rounds to tell".to_owned(),
            Some(false) => "no difference that is more than noise".to_owned(),
            Some(true) => {
                let change = (row.figure.median / old.figure.median - 1.0) * 100.0;
                format!("{change:+.1}%, more than noise")
            }
        };
        let _ = writeln!(
            text,
            "{}: {} ({}), now {} ({}): {said}",
            row.name,
            figure(old, old.figure.median),
            interval(&old.figure),
            figure(row, row.figure.median),
            interval(&row.figure),
        );
    }
    if !missing.is_empty() {
        let _ = writeln!(text, "not in the saved run: {}", missing.join(", "));
    }
    if then.machine.is_busy() || now.machine.is_busy() {
        text.push_str("The machine was busy in at least one of both runs.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::{measured, report};

    #[test]
    fn a_row_says_figure_budget_and_instructions() {
        let text = row(&measured("call", &[1.0; 10]));
        assert_eq!(
            text,
            "call: does what it does\n  ratio 1.000 (1.000 to 1.000; p10 1.000, p90 1.000; 10 \
             pairs)\n  ours 1.000 us (p10 1.000), bare 1.000 us (p10 1.000)\n  guest instructions that KVM emulated, a call: \
             ours 5.000\n  budget at most 1.02: met\n"
        );
        let missed = row(&measured("call", &[2.0]));
        assert!(missed.contains("MISSED, by too few rounds to be sure"), "{missed}");
    }

    #[test]
    fn a_comparison_tells_noise_from_a_difference() {
        let then = report(vec![measured("a", &[1.0; 9]), measured("b", &[1.0; 9])]);
        let rows = vec![measured("a", &[1.0; 9]), measured("b", &[1.5; 9]), measured("c", &[1.0])];
        let text = comparison(&then, &report(rows));
        assert!(
            text.contains("a: 1.000 (1.000 to 1.000), now 1.000 (1.000 to 1.000): no"),
            "{text}"
        );
        assert!(text.contains("+50.0%, more than noise"), "{text}");
        assert!(text.contains("not in the saved run: c"), "{text}");
    }

    #[test]
    fn missed_budgets_are_named_at_the_end() {
        let text = summary(&report(vec![measured("a", &[1.0; 9]), measured("b", &[1.5; 9])]));
        assert!(text.ends_with("1 budgets met, 1 missed: b\n"), "{text}");
    }
}
