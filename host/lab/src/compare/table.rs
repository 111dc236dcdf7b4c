//! A comparison on a terminal.

use super::{Comparison, Pair, change};
use crate::figures::{Figures, Line};
use crate::show::{fitted, folded, usable};
use crate::text::{self, shown};
use crate::units::{Unit, three, time};

/// The columns of a name where there are few.
const SHORT: usize = 14;
/// From how many columns on there is room for longer ones.
const WIDE: usize = 110;

impl Comparison<'_> {
    /// What is not the same, the rows side by side, and what they come to, in lines of at most
    /// `width` columns (0 where there is no terminal to fit to).
    #[must_use]
    pub fn table(&self, width: usize) -> String {
        let width = usable(width);
        let mut text = String::new();
        for (name, report) in ["A", "B"].into_iter().zip(self.sides) {
            let began = shown(&report.began, text::NAME);
            let cpu = shown(&report.machine.cpu, text::SENTENCE);
            let kvm = shown(&report.machine.kvm, text::NAME);
            text.push_str(&folded(&format!("{name}: {cpu}, {kvm}, {began}"), width));
        }
        if self.unlike.is_empty() {
            text.push_str(&folded("Both machines are described alike.", width));
        }
        for (what, [a, b]) in &self.unlike {
            text.push_str(&folded(&format!("NOT THE SAME: {what}: A {a}; B {b}"), width));
        }
        for warning in &self.warnings {
            text.push_str(&folded(warning, width));
        }
        let unit = self.unit();
        let times = |side: &str| match unit {
            Some(unit) => format!("{side} p50 (95%), {}", unit.name()),
            None => format!("{side} p50 (95%)"),
        };
        let head = ["row", "ring", &times("A"), &times("B"), "B/A", "which means"];
        let rows = self.pairs.iter().map(|pair| cells(pair, unit, width));
        text.push('\n');
        text.push_str(&fitted(&head.map(str::to_owned), rows, width));
        text.push('\n');
        for sentence in self.sentences().into_iter().chain(self.reasons()) {
            text.push_str(&folded(&sentence, width));
        }
        text
    }

    fn unit(&self) -> Option<Unit> {
        let lines = self.pairs.iter().flat_map(|pair| pair.sides.iter().flatten());
        let medians = lines.filter_map(Line::figures).map(|it| it.summary.median);
        Unit::for_all(&medians.collect::<Vec<_>>())
    }

    /// Why rows have no figures.
    fn reasons(&self) -> Vec<String> {
        let why = |line: &Option<Line<'_>>| {
            let nothing = line.as_ref()?.content.as_ref().err()?;
            Some(format!("{}: {}", nothing.word, nothing.why))
        };
        let mut said = Vec::new();
        for pair in &self.pairs {
            let title = pair.title();
            match pair.sides.each_ref().map(why) {
                [Some(a), Some(b)] if a == b => said.push(format!("{title}, A and B: {a}")),
                [a, b] => {
                    said.extend(a.map(|it| format!("{title}, A: {it}")));
                    said.extend(b.map(|it| format!("{title}, B: {it}")));
                }
            }
        }
        said
    }
}

fn cells(pair: &Pair<'_>, unit: Option<Unit>, width: usize) -> Vec<String> {
    let name = if width < WIDE { SHORT } else { text::NAME };
    let verdict = pair.verdict();
    let [a, b] = pair.sides.each_ref().map(|line| match line {
        None => "not there".to_owned(),
        Some(line) => match &line.content {
            Ok(figures) => median(figures, unit),
            Err(nothing) => nothing.word.to_owned(),
        },
    });
    let ring = pair.ring().to_string();
    vec![shown(&pair.name(), name), ring, a, b, change(verdict.ratio()), verdict.words()]
}

/// With its interval.
fn median(figures: &Figures<'_>, unit: Option<Unit>) -> String {
    let show = |it: f64| unit.map_or_else(|| time(it, None), |unit| three(it / unit.size()));
    let summary = &figures.summary;
    let interval = summary
        .interval
        .map_or_else(|| "none".to_owned(), |(low, high)| format!("{}..{}", show(low), show(high)));
    format!("{} ({interval})", show(summary.median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn both_sides_and_what_they_come_to_are_there() {
        let (a, b) = (sample::report(1), sample::other(2));
        for width in [0, 80, 120] {
            let text = Comparison::of(&a, &b).table(width);
            for said in [
                "NOT THE SAME: KVM: A kvm_pvm; B kvm_amd",
                "A is noisy",
                "B is faster",
                "within chance",
                "only in A",
                "only A measured",
                "50 rows can be compared, and 3 of them differ",
                "ioeventfd in ring 0, B: lacking: KVM_IOEVENTFD failed",
            ] {
                assert!(text.replace("\n  ", " ").contains(said), "{said} at {width}:\n{text}");
            }
        }
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let reports = [sample::report(1), sample::other(2), sample::hostile(), sample::absurd()];
        for (a, b) in reports.iter().zip(reports.iter().cycle().skip(1)) {
            for width in [80, 81, 100, 133, 200] {
                let text = Comparison::of(a, b).table(width);
                let longest = text.lines().max_by_key(|it| it.width()).unwrap_or_default();
                assert!(longest.width() <= width, "{width}: {longest:?}");
                assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }

    #[test]
    fn a_row_stands_on_one_line_of_80_columns() {
        let (a, b) = (sample::report(1), sample::report(2));
        let text = Comparison::of(&a, &b).table(80);
        let rows: Vec<&str> = text.split("\n\n").nth(1).expect("a table").lines().collect();
        assert_eq!(rows.len(), a.rows.len() + 1, "{text}");
    }
}
