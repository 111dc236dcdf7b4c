//! Two reports side by side: two machines, or two runs of one.

mod table;

use crate::figures::{Figures, Line, file_name, lines};
use crate::report::{Machine, Report};
use crate::text::{self, count, list, shown};
use crate::units::times;
use crate::words;
use std::collections::{HashMap, VecDeque};

/// Two reports, row by row. What it says of the first is "A", of the second "B".
#[derive(Debug)]
pub struct Comparison<'a> {
    pub(crate) sides: [&'a Report; 2],
    pub(crate) pairs: Vec<Pair<'a>>,
    /// What of the machines or the runs is not the same: what, A's, B's.
    pub(crate) unlike: Vec<(String, [String; 2])>,
    pub(crate) warnings: Vec<String>,
}

/// A row of one name, image and ring in both.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) sides: [Option<Line<'a>>; 2],
    /// Whether one side's rounds share a process, so that no interval knows what differs between two.
    is_quick: bool,
}

/// What there is to say of a pair.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// B's median over A's, and whether that is more than chance makes of it; `None` where there
    /// are too few rounds to tell.
    Both {
        /// `None` where a median is not above 0.
        ratio: Option<f64>,
        differs: Option<bool>,
    },
    /// Only this side has figures, and the other says why not.
    Lost(&'static str),
    /// Only one report has the row.
    Alone(&'static str),
    /// Neither has figures.
    Neither,
}

impl<'a> Comparison<'a> {
    /// Puts `a` and `b` side by side, in the order of `a`; what only `b` has comes last.
    #[must_use]
    pub fn of(a: &'a Report, b: &'a Report) -> Self {
        // A file may have any number of rows, and several of one name.
        let mut theirs: HashMap<_, VecDeque<usize>> = HashMap::new();
        let mut others: Vec<Option<Line<'a>>> = lines(b).into_iter().map(Some).collect();
        for (at, line) in others.iter().enumerate() {
            theirs.entry(line.as_ref().map(key)).or_default().push_back(at);
        }
        let mut take = |line: &Line<'a>| {
            let at = theirs.get_mut(&Some(key(line)))?.pop_front()?;
            others.get_mut(at)?.take()
        };
        let is_quick = a.quick || b.quick;
        let mut pairs: Vec<Pair<'a>> = Vec::new();
        for line in lines(a) {
            let other = take(&line);
            pairs.push(Pair { sides: [Some(line), other], is_quick });
        }
        let alone = |line| Pair { sides: [None, Some(line)], is_quick };
        pairs.extend(others.into_iter().flatten().map(alone));
        let warnings = [("A", a), ("B", b)].into_iter().flat_map(|(name, report)| {
            let said = words::warnings(report, &lines(report));
            said.into_iter().map(move |it| format!("{name} is {}", lower_first(&it)))
        });
        Self { sides: [a, b], pairs, unlike: unlike(a, b), warnings: warnings.collect() }
    }

    /// Of all rows that both have figures of: how many, how many differ by more than chance, and how
    /// many of those chance alone would have made, if both were runs of one machine in one state.
    pub(crate) fn chances(&self) -> (usize, usize, f64) {
        let both: Vec<[&Figures<'_>; 2]> = self.pairs.iter().filter_map(Pair::figures).collect();
        let tested = |it: &&[&Figures<'_>; 2]| it[0].summary.differs(&it[1].summary).is_some();
        let tested: Vec<_> = both.iter().filter(tested).collect();
        let differ = self.pairs.iter().filter(|it| it.verdict().is_difference()).count();
        let expected = tested.iter().map(|it| by_chance(it[0], it[1])).sum();
        (tested.len(), differ, expected)
    }

    /// What all of it comes to, in sentences.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let (compared, differ, expected) = self.chances();
        let is_quick = self.sides.iter().any(|it| it.quick);
        let mut said = vec![if is_quick {
            "A run was quick, and all rounds of a row were in one process: whether two rows differ \
             cannot be told."
                .to_owned()
        } else if compared == 0 {
            "No row has figures and enough rounds in both: nothing can be compared.".to_owned()
        } else {
            let few = if expected < 0.01 {
                "a hundredth".to_owned()
            } else {
                format!("about {expected:.2}")
            };
            let mut text = format!(
                "{} can be compared, and {differ} of them differ: their 95% intervals have nothing \
                 in common.",
                count(compared, "row"),
            );
            if self.sides.iter().any(|it| it.machine.load.is_busy()) {
                text += " A machine was busy: how many of them chance would make cannot be said.";
            } else {
                text += &format!(
                    " Chance alone would make at least {few} of them differ so. That is a lower \
                     bound: it takes rounds to be independent, and a machine drifts. Two runs of one \
                     machine are often 3% to 5% apart as a whole, which no interval of one run \
                     knows: below that, measure both again, by turns."
                );
            }
            text
        }];
        let ratios = |is_more: bool| {
            let pairs = self.pairs.iter().filter(move |it| {
                it.verdict().is_difference()
                    && it.verdict().ratio().is_some_and(|ratio| (ratio > 1.0) == is_more)
            });
            pairs
                .map(|it| format!("{} {}", it.title(), times(it.verdict().ratio().unwrap_or(1.0))))
                .collect::<Vec<_>>()
        };
        for (is_more, words) in [(true, "B takes longer"), (false, "B takes less")] {
            let all = ratios(is_more);
            if !all.is_empty() {
                said.push(format!("{words} in {}: {}.", count(all.len(), "row"), list(&all)));
            }
        }
        let lost: Vec<String> = self.pairs.iter().filter_map(Pair::lost).collect();
        if !lost.is_empty() {
            said.push(format!(
                "Only one has figures of {}: {}.",
                count(lost.len(), "row"),
                list(&lost)
            ));
        }
        said
    }
}

/// Rows that are the same thing to measure. A file may lie elsewhere on another machine.
fn key<'a>(line: &Line<'a>) -> (&'a str, Option<&'a str>, u8) {
    (&line.row.name, line.row.image.as_deref().map(file_name), line.row.ring)
}

impl<'a> Pair<'a> {
    /// Either side; both have the same name.
    fn any(&self) -> Option<&Line<'a>> {
        self.sides.iter().flatten().next()
    }

    pub(crate) fn name(&self) -> String {
        self.any().map(|it| it.name.clone()).unwrap_or_default()
    }

    pub(crate) fn ring(&self) -> u8 {
        self.any().map_or(0, |it| it.row.ring)
    }

    pub(crate) fn title(&self) -> String {
        self.any().map(Line::title).unwrap_or_default()
    }

    fn figures(&self) -> Option<[&Figures<'a>; 2]> {
        let [a, b] = self.sides.each_ref().map(|it| it.as_ref()?.figures());
        Some([a?, b?])
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if let Some([a, b]) = self.figures() {
            let (first, second) = (a.summary.median, b.summary.median);
            let ratio = (first > 0.0 && second > 0.0).then_some(second / first);
            return Verdict::Both {
                ratio,
                differs: a.summary.differs(&b.summary).filter(|_| !self.is_quick),
            };
        }
        match &self.sides {
            [Some(_), None] => Verdict::Alone("A"),
            [None, _] => Verdict::Alone("B"),
            [Some(a), Some(b)] => match (a.content.is_ok(), b.content.is_ok()) {
                (true, false) => Verdict::Lost("A"),
                (false, true) => Verdict::Lost("B"),
                _ => Verdict::Neither,
            },
        }
    }

    /// Which side has figures where the other has none.
    fn lost(&self) -> Option<String> {
        let has = self.sides.each_ref().map(|it| it.as_ref().is_some_and(|it| it.content.is_ok()));
        let name = match has {
            [true, false] => "A",
            [false, true] => "B",
            _ => return None,
        };
        Some(format!("{} (only {name})", self.title()))
    }
}

impl Verdict {
    pub(crate) fn is_difference(&self) -> bool {
        matches!(self, Self::Both { differs: Some(true), .. })
    }

    pub(crate) const fn ratio(&self) -> Option<f64> {
        match self {
            Self::Both { ratio, .. } => *ratio,
            _ => None,
        }
    }

    /// Of B, beside A.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Both { differs: None, .. } => "cannot be told".to_owned(),
            Self::Both { differs: Some(false), .. } => "within chance".to_owned(),
            Self::Both { ratio: Some(ratio), .. } if *ratio > 1.0 => "B is slower".to_owned(),
            Self::Both { ratio: Some(_), .. } => "B is faster".to_owned(),
            Self::Both { ratio: None, .. } => "they differ".to_owned(),
            Self::Lost(side) => format!("only {side} measured"),
            Self::Alone(side) => format!("only in {side}"),
            Self::Neither => "no figures".to_owned(),
        }
    }
}

/// How often the intervals of two rows have nothing in common although nothing differs. Their rounds'
/// medians are then in any order alike, so that it is a matter of counting: with `n` and `m` rounds,
/// and `r` and `s` of them outside each end of the intervals, all but `r` of the one must come before
/// all but `s` of the other, or the other way round (hypergeometric).
fn by_chance(a: &Figures<'_>, b: &Figures<'_>) -> f64 {
    /// From how many rounds on it is not counted.
    const MANY: usize = 1000;
    let (n, r) = outside(a);
    let (m, s) = outside(b);
    if n.max(m) > MANY {
        // No more than where one of both intervals is of no width.
        return 0.05;
    }
    before(n, r, m, s) + before(m, s, n, r)
}

/// Rounds, and how many of them are below the interval.
fn outside(figures: &Figures<'_>) -> (usize, usize) {
    let low = figures.summary.interval.map_or(f64::MIN, |it| it.0);
    (figures.rounds.len(), figures.rounds.iter().filter(|it| **it < low).count())
}

/// The `n - r`th of the one before the `s + 1`th of the other: among the first `n - r + s` of all are
/// no more than `s` of the other.
fn before(n: usize, r: usize, m: usize, s: usize) -> f64 {
    let drawn = (n + s).saturating_sub(r);
    let ways = |of_other: usize| {
        let of_one = drawn.checked_sub(of_other)?;
        Some((ln_choose(n, of_one)? + ln_choose(m, of_other)? - ln_choose(n + m, drawn)?).exp())
    };
    (0..=s).filter_map(ways).sum()
}

/// ln of the number of ways to choose.
fn ln_choose(of: usize, take: usize) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "rounds, far below 2^52")]
    let real = |it: usize| it as f64;
    let rest = of.checked_sub(take)?;
    Some((0..take.min(rest)).map(|it| (real(of - it) / real(it + 1)).ln()).sum())
}

/// What a warning says, behind "A is".
fn lower_first(text: &str) -> String {
    text.split_once([' ', ':']).map_or_else(
        || text.to_lowercase(),
        |(word, _)| text.replacen(word, &word.to_lowercase(), 1),
    )
}

fn unlike(a: &Report, b: &Report) -> Vec<(String, [String; 2])> {
    let described = |report: &Report| {
        let mut all: Vec<(String, String)> = words::machine(report)
            .into_iter()
            .filter(|(what, _)| !matches!(*what, "Load averages" | "Beside the laboratory"))
            .map(|(what, words)| (what.to_owned(), words))
            .collect();
        all.push(("Portcall".to_owned(), shown(&report.version, text::NAME)));
        let pinned =
            report.pinned.map_or_else(|| "no".to_owned(), |it| format!("to processor {it}"));
        all.push(("vCPUs pinned".to_owned(), pinned));
        all
    };
    let pairs = described(a).into_iter().zip(described(b));
    let mut said: Vec<(String, [String; 2])> =
        pairs.filter(|(a, b)| a.1 != b.1).map(|(a, b)| (a.0, [a.1, b.1])).collect();
    said.extend(mitigations(&a.machine, &b.machine));
    said
}

fn mitigations(a: &Machine, b: &Machine) -> Vec<(String, [String; 2])> {
    /// Of a file's.
    const MOST: usize = 64;
    let mut names: Vec<&String> = a.mitigations.keys().chain(b.mitigations.keys()).collect();
    names.sort();
    names.dedup();
    let said = |machine: &Machine, name: &String| {
        machine
            .mitigations
            .get(name)
            .map_or_else(|| "not told".to_owned(), |it| shown(it, text::SENTENCE))
    };
    let all = names.into_iter().filter(|it| a.mitigations.get(*it) != b.mitigations.get(*it));
    all.take(MOST)
        .map(|it| (format!("Mitigation of {}", shown(it, text::NAME)), [said(a, it), said(b, it)]))
        .collect()
}

/// How much longer B takes.
pub(crate) fn change(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(ratio) if (0.5..2.0).contains(&ratio) => format!("{:+.1}%", (ratio - 1.0) * 100.0),
        Some(ratio) => times(ratio),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn near(value: f64, wanted: f64) -> bool {
        (value / wanted - 1.0).abs() < 1e-9
    }

    /// Eight rounds and eight, from the least to the most of each: all of one before all of the
    /// other, in 2 of C(16, 8) orders.
    #[test]
    fn chance_is_counted() {
        assert!(near(before(8, 0, 8, 0) * 2.0, 2.0 / 12870.0));
        assert!(near(before(6, 0, 6, 0), 1.0 / 924.0));
        // The first of three before the last of three: all orders but the one that has all three
        // of the other before it.
        assert!(near(before(3, 2, 3, 2), 1.0 - 1.0 / 20.0));
        assert!((0.0..1e-6).contains(&before(2000, 900, 2000, 900)));
    }

    #[test]
    fn rows_of_one_name_are_paired_in_their_order_and_in_no_time() {
        let mut a = sample::report(1);
        let row = |ring: u8| sample::absent("same", ring, crate::report::Absence::Wrong, "so");
        a.rows = (0..200_000_u32).map(|it| row(if it % 2 == 0 { 0 } else { 3 })).collect();
        let mut b = a.clone();
        b.rows.pop();
        let comparison = Comparison::of(&a, &b);
        assert_eq!(comparison.pairs.len(), a.rows.len());
        let verdicts =
            |wanted: Verdict| comparison.pairs.iter().filter(|it| it.verdict() == wanted).count();
        assert_eq!((verdicts(Verdict::Neither), verdicts(Verdict::Alone("A"))), (199_999, 1));
    }

    #[test]
    fn any_number_of_rounds_is_compared() {
        let mut report = sample::report(1);
        report.rows = vec![sample::row("many", 0, vec![vec![1.0]; 100_000])];
        assert!(near(Comparison::of(&report, &report).chances().2, 0.05));
    }

    #[test]
    fn a_run_beside_itself_differs_in_nothing() {
        let report = sample::report(1);
        let comparison = Comparison::of(&report, &report);
        assert!(comparison.unlike.is_empty(), "{:?}", comparison.unlike);
        let (compared, differ, expected) = comparison.chances();
        assert_eq!((compared, differ), (54, 0));
        assert!(near(expected, 54.0 * 2.0 / 12870.0), "{expected}");
    }

    #[test]
    fn machines_and_rows_that_differ_are_said() {
        let (a, b) = (sample::report(1), sample::other(2));
        let comparison = Comparison::of(&a, &b);
        let unlike: Vec<&str> = comparison.unlike.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(unlike, ["Processor", "KVM", "Mitigation of retbleed"]);
        let verdict = |name: &str, ring| {
            let pair = comparison.pairs.iter().find(|it| it.name() == name && it.ring() == ring);
            pair.expect("a pair").verdict()
        };
        assert!(verdict("out8", 3).is_difference() && verdict("out8", 3).words() == "B is faster");
        assert_eq!(verdict("stop", 0), Verdict::Alone("A"));
        assert_eq!(verdict("ioeventfd", 3), Verdict::Lost("A"));
        assert_eq!(verdict("vmcall", 3), Verdict::Neither);
        let said = comparison.sentences().join("\n");
        assert!(said.contains("B takes less in 3 rows: out8 in ring 3 0.5"), "{said}");
        assert!(said.contains("stop in ring 0 (only A)"), "{said}");
        assert_eq!(comparison.pairs.len(), a.rows.len());
        assert_eq!(Comparison::of(&b, &a).pairs.len(), a.rows.len());
    }

    #[test]
    fn quick_and_noisy_runs_are_warned_of() {
        let (a, mut b) = (sample::report(1), sample::report(2));
        b.quick = true;
        b.interrupted = true;
        let said = Comparison::of(&a, &b).warnings.join("\n");
        assert!(
            said.contains("A is noisy: 2 rows") && said.contains("B is quick: a short"),
            "{said}"
        );
        assert!(
            said.contains("B is interrupted: the run") && !said.contains("A is quick"),
            "{said}"
        );
    }

    #[test]
    fn numbers_that_cannot_be_are_compared_without_a_panic() {
        let (absurd, hostile) = (sample::absurd(), sample::hostile());
        for (a, b) in [(&absurd, &hostile), (&hostile, &absurd), (&absurd, &absurd)] {
            let comparison = Comparison::of(a, b);
            assert!(comparison.chances().2.is_finite());
            assert!(!comparison.sentences().is_empty());
        }
    }
}
