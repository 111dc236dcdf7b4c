//! What the figures come to, in three sentences: only what is true of this report.

use super::time;
use crate::figures::{Figures, Line};
use crate::text::{count, list};
use crate::units::times;
use maud::{Markup, html};
use measures::statistics::Summary;

type Measured<'a> = (&'a Line<'a>, &'a Figures<'a>);

pub(super) fn of(lines: &[Line<'_>]) -> Markup {
    html! { @for sentence in sentences(lines) { p.story { (sentence) } } }
}

fn sentences(lines: &[Line<'_>]) -> Vec<String> {
    let mut measured: Vec<Measured<'_>> =
        lines.iter().filter_map(|line| Some((line, line.figures()?))).collect();
    let noisy: Vec<String> =
        measured.iter().filter(|it| it.0.is_noisy()).map(|it| it.0.title()).collect();
    measured.retain(|it| !it.0.is_noisy());
    measured.sort_by(|(_, one), (_, other)| one.summary.median.total_cmp(&other.summary.median));
    let mut said = Vec::new();
    match measured[..] {
        [] if noisy.is_empty() => said.push("No row has figures.".to_owned()),
        [] => said.push("All rows with figures are noisy.".to_owned()),
        [(line, figures)] => said.push(format!(
            "The only row with figures is {}, at {} an operation.",
            line.title(),
            cost(&figures.summary)
        )),
        [first, second, ..] => said.push(extremes(first, second, measured[measured.len() - 1])),
    }
    said.extend(exits(&measured));
    said.extend(rings(&measured));
    if !noisy.is_empty() {
        said.push(format!("Left out of this are noisy rows: {}.", list(&noisy)));
    }
    let without: Vec<String> =
        lines.iter().filter(|it| it.content.is_err()).map(Line::title).collect();
    if !without.is_empty() {
        said.push(format!(
            "{} no figures, and say why below: {}.",
            if without.len() == 1 {
                "1 row has".to_owned()
            } else {
                format!("{} have", count(without.len(), "row"))
            },
            list(&without)
        ));
    }
    said
}

fn extremes(first: Measured<'_>, second: Measured<'_>, last: Measured<'_>) -> String {
    let (least, most) = (&first.1.summary, &last.1.summary);
    let ratio = if least.median > 0.0 && !first.1.is_at_step {
        format!(", {} as much", times(most.median / least.median))
    } else {
        String::new()
    };
    format!(
        "{} at {}{}; the dearest is {} at {}{ratio}.",
        match first.1.is_at_step {
            true => format!("The cheapest operation is {}, at the clock's step,", first.0.title()),
            false => format!("The cheapest operation is {}", first.0.title()),
        },
        cost(least),
        beside(least, second),
        last.0.title(),
        time(most.median),
    )
}

/// The median, where it is a time.
fn cost(summary: &Summary) -> String {
    match summary.median {
        it if it > 0.0 => time(it),
        _ => "no more than the timer's own cost".to_owned(),
    }
}

/// That the next one may as well be the first.
fn beside(least: &Summary, second: Measured<'_>) -> String {
    match least.differs(&second.1.summary) {
        Some(true) => String::new(),
        _ => format!(" ({} cannot be told from it)", second.0.title()),
    }
}

/// The cheapest of those that are known to leave the guest for this process every time.
fn exits(measured: &[Measured<'_>]) -> Option<String> {
    let leaves = |it: &&Measured<'_>| it.1.shares.is_some_and(|shares| shares.exits >= 0.95);
    let mut all = measured.iter().filter(leaves);
    let (line, figures) = all.next()?;
    let others: Vec<String> = all
        .filter(|it| figures.summary.differs(&it.1.summary) != Some(true))
        .map(|it| it.0.title())
        .collect();
    let beside = match others[..] {
        [] => String::new(),
        _ => format!(" Its p50 cannot be told from that of {}.", list(&others)),
    };
    Some(format!(
        "The cheapest way out to this process and back is {}: half of all took {} or less.{beside}",
        line.title(),
        time(figures.summary.median),
    ))
}

/// Ring 3 beside ring 0, over the rows that have both.
fn rings(measured: &[Measured<'_>]) -> Option<String> {
    let of = |ring: u8| measured.iter().filter(move |(line, _)| line.row.ring == ring);
    let mut ratios: Vec<f64> = of(3)
        .filter_map(|(line, three)| {
            let same = |it: &&Measured<'_>| {
                (&it.0.row.name, &it.0.row.image) == (&line.row.name, &line.row.image)
            };
            let (_, zero) = of(0).find(same)?;
            let is_at_step = three.is_at_step || zero.is_at_step;
            let (three, zero) = (three.summary.median, zero.summary.median);
            (three > 0.0 && zero > 0.0 && !is_at_step).then_some(three / zero)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let all = Summary::of(&ratios)?;
    Some(match ratios[..] {
        [only] => format!("The row that has both rings takes {} the time in ring 3.", times(only)),
        _ => format!(
            "Of the {} rows that have both rings, half take {} of ring 0's time or more in ring 3; \
             all of them lie between {} and {}.",
            all.count,
            times(all.median),
            times(all.least),
            times(all.most),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::lines;
    use crate::report::Report;
    use crate::sample;

    fn said(report: &Report) -> String {
        sentences(&lines(report)).join("\n").replace('\u{a0}', " ")
    }

    #[test]
    fn noise_is_no_record_and_the_clocks_step_no_measure() {
        let mut report = sample::report(1);
        report.machine.clock_step = Some(10.0);
        report.rows = vec![
            sample::row("rdtsc", 0, vec![vec![10.0]; 8]),
            sample::row("a", 0, vec![vec![5000.0]; 8]),
            sample::row("polled", 0, vec![vec![100.0, 9000.0, 90_000.0]; 8]),
        ];
        let text = said(&report);
        assert!(
            text.contains("rdtsc in ring 0, at the clock's step, at 10.0 ns; the dearest is a"),
            "{text}"
        );
        assert!(text.contains("Left out of this are noisy rows: polled in ring 0."), "{text}");
        assert!(!text.contains("500x"), "{text}");
    }

    #[test]
    fn cheapest_and_dearest_and_rings_are_those_of_the_report() {
        let mut report = sample::report(1);
        report.machine.clock_step = None;
        report.rows = vec![
            sample::row("a", 0, vec![vec![10.0]; 8]),
            sample::row("a", 3, vec![vec![30.0]; 8]),
            sample::row("b", 0, vec![vec![5000.0]; 8]),
        ];
        let text = said(&report);
        assert!(text.contains("cheapest operation is a in ring 0 at 10.0 ns; the dearest is b in ring 0 at 5.00 \u{b5}s, 500x"), "{text}");
        assert!(text.contains("takes 3.00x the time in ring 3"), "{text}");
        assert!(!text.contains("cannot be told") && !text.contains("this process"), "{text}");
    }

    #[test]
    fn what_is_below_the_timers_own_cost_is_no_time() {
        let mut report = sample::report(1);
        report.machine.clock_step = Some(10.0);
        report.rows = vec![sample::row("rdtsc", 0, vec![vec![-15.0]; 8])];
        assert!(said(&report).contains("at no more than the timer's own cost an operation"));
        report.rows.push(sample::row("a", 0, vec![vec![5000.0]; 8]));
        let text = said(&report);
        assert!(text.contains("step, at no more than the timer's own cost; the dearest"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_not_said() {
        let mut report = sample::report(1);
        report.rows.clear();
        assert_eq!(said(&report), "No row has figures.");
        report.rows = vec![sample::row("a", 0, vec![vec![10.0]])];
        assert_eq!(
            said(&report),
            "The only row with figures is a in ring 0, at 10.0 ns an operation."
        );
        report.rows.push(sample::row("b", 0, vec![vec![11.0]]));
        assert!(said(&report).contains("(b in ring 0 cannot be told from it)"));
    }

    #[test]
    fn the_samples_story() {
        let text = said(&sample::report(1));
        assert!(text.contains("cheapest operation is rdtsc in ring 3"), "{text}");
        assert!(text.contains("way out to this process and back is out"), "{text}");
        assert!(text.contains("8 rows have no figures"), "{text}");
    }
}
