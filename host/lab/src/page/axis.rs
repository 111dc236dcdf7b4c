//! From times to places, and the marks of an axis.

use super::time;
use crate::units::Unit;

/// What is less has no place on a logarithmic axis, and is no time that was measured: ns.
const FLOOR: f64 = 0.1;
/// Labels that fit beside each other on a telephone.
const FIT: f64 = 4.5;
/// From how many decades on not each of them has a label anywhere.
const MANY: f64 = 9.0;

/// An axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
}

/// A mark of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// In percent of the width.
    pub(super) at: f64,
    pub(super) label: Option<String>,
    /// Whether the label has room on a narrow screen as well.
    pub(super) is_major: bool,
}

impl Axis {
    /// A logarithmic one for all of these, a decade at least. `None` where none is above 0.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.filter(|it| *it > 0.0).map(|it| it.max(FLOOR)).collect();
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        let short = (10.0 / (high / low)).max(1.0).sqrt().max(1.15);
        Some(Self { low: low / short, high: high * short, is_log: true })
    }

    /// One between these, wide enough to have places.
    pub(super) fn between(low: f64, high: f64, is_log: bool) -> Self {
        let is_log = is_log && low >= FLOOR;
        let least = (low.abs() * 0.02).max(0.1);
        Self { low, high: high.max(low + least), is_log }
    }

    pub(super) const fn is_log(self) -> bool {
        self.is_log
    }

    fn scaled(self, value: f64) -> f64 {
        if self.is_log { value.max(FLOOR).log10() } else { value }
    }

    /// In percent of the width; what lies beyond is put at the end.
    pub(super) fn place(self, value: f64) -> f64 {
        let (low, high) = (self.scaled(self.low), self.scaled(self.high));
        ((self.scaled(value) - low) / (high - low) * 100.0).clamp(0.0, 100.0)
    }

    pub(super) fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The bounds of so many bins of one width.
    pub(super) fn edges(self, bins: u8) -> Vec<f64> {
        let (low, high) = (self.scaled(self.low), self.scaled(self.high));
        let edge = |bin: u8| low + (high - low) * f64::from(bin) / f64::from(bins);
        let back = |it: f64| if self.is_log { 10_f64.powf(it) } else { it };
        (0..=bins).map(|bin| back(edge(bin))).collect()
    }

    /// The marks, from left to right.
    pub(super) fn ticks(self) -> Vec<Tick> {
        if self.is_log { self.powers() } else { self.steps() }
    }

    fn powers(self) -> Vec<Tick> {
        let (low, high) = (self.scaled(self.low), self.scaled(self.high));
        let decades = high - low;
        let each = (decades / FIT).ceil().max(1.0);
        let mut ticks = Vec::new();
        let mut power = low.floor();
        while power <= high {
            for digit in [1.0, 2.0, 5.0] {
                let value = 10_f64.powf(power) * digit;
                let is_power = digit < 1.5;
                let is_major = decades < 1.5 || (is_power && power.rem_euclid(each) < 0.5);
                let has_room = if is_power { decades < MANY } else { decades < 3.0 };
                let is_labelled = is_major || has_room;
                if self.contains(value) && (is_power || decades < 7.0) {
                    let label = is_labelled.then(|| short(value));
                    ticks.push(Tick { at: self.place(value), label, is_major });
                }
            }
            power += 1.0;
        }
        ticks
    }

    fn steps(self) -> Vec<Tick> {
        let width = self.high - self.low;
        let power = 10_f64.powf((width / 4.0).log10().floor());
        let fits = |it: &f64| width / (it * power) <= FIT;
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(fits).unwrap_or(10.0) * power;
        let unit = Unit::of(self.high);
        let mut ticks = Vec::new();
        let mut value = (self.low / step).ceil() * step;
        while value <= self.high && ticks.len() < 12 {
            let label = Some(in_unit(value, step, unit));
            ticks.push(Tick { at: self.place(value), label, is_major: true });
            value += step;
        }
        ticks
    }
}

/// A power of ten, or twice or five times that.
fn short(value: f64) -> String {
    let text = time(value).replace('\u{a0}', " ");
    text.replace(".00", "")
        .replace(".0 ", " ")
        .replace("0.10 ", "0.1 ")
        .replace("0.20 ", "0.2 ")
        .replace("0.50 ", "0.5 ")
}

/// With as many places as neighbours differ in.
fn in_unit(value: f64, step: f64, unit: Unit) -> String {
    let step = step / unit.size();
    let mut shown = step;
    let mut places = 0;
    while (shown - shown.round()).abs() > 1e-6 * shown.abs() && places < 6 {
        shown *= 10.0;
        places += 1;
    }
    let name = if unit == Unit::Microseconds { "\u{b5}s" } else { unit.name() };
    let value = value / unit.size();
    let value = if value.abs() < step / 2.0 { 0.0 } else { value };
    format!("{value:.places$} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, is_major: bool) -> Vec<String> {
        let ticks = axis.ticks().into_iter().filter(|it| it.is_major || !is_major);
        ticks.filter_map(|it| it.label).collect()
    }

    #[test]
    fn a_logarithmic_axis_marks_powers_of_ten() {
        let axis = Axis::log([12.0, 90_000.0, -4.0, 0.0].into_iter()).expect("above 0");
        assert_eq!(labels(axis, true), ["100 ns", "1 \u{b5}s", "10 \u{b5}s", "100 \u{b5}s"]);
        assert!(
            (axis.place(1e3) - axis.place(100.0) - (axis.place(1e4) - axis.place(1e3))).abs()
                < 1e-9
        );
        assert_eq!((axis.place(0.0), axis.place(1e30), axis.place(-1.0)), (0.0, 100.0, 0.0));
        assert_eq!(Axis::log([0.0, -1.0].into_iter()), None);
    }

    #[test]
    fn a_narrow_range_gets_a_decade_and_a_huge_one_few_labels() {
        let narrow = Axis::log([1000.0].into_iter()).expect("above 0");
        assert!(labels(narrow, true).len() >= 3, "{:?}", labels(narrow, true));
        let huge = Axis::log([0.1, 1e14].into_iter()).expect("above 0");
        assert!((3..=6).contains(&labels(huge, false).len()), "{:?}", labels(huge, false));
    }

    #[test]
    fn a_linear_axis_has_round_steps_in_one_unit() {
        let axis = Axis::between(9_050.0, 9_870.0, false);
        assert_eq!(
            labels(axis, true),
            ["9.2 \u{b5}s", "9.4 \u{b5}s", "9.6 \u{b5}s", "9.8 \u{b5}s"]
        );
        let around = Axis::between(-1.0, 1.0, false);
        assert!(labels(around, true).contains(&"0.0 ns".to_owned()), "{:?}", labels(around, true));
        for value in [0.0, 5.0, 1e14, -1e14] {
            let point = Axis::between(value, value, true);
            assert!(point.place(value).is_finite() && point.ticks().len() <= 12);
        }
    }

    #[test]
    fn bins_cover_the_axis() {
        for is_log in [false, true] {
            let edges = Axis::between(10.0, 1000.0, is_log).edges(10);
            assert_eq!(edges.len(), 11);
            assert!((edges[0] - 10.0).abs() < 1e-6 && (edges[10] - 1000.0).abs() < 1e-6);
        }
    }
}
