//! Times and shares in as many digits as say something.

/// From where on a number of nanoseconds is no measurement, but a damaged or made-up file: 11 days.
pub const ABSURD: f64 = 1e15;

/// What times are shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 1 ns.
    Nanoseconds,
    /// 1000 ns.
    Microseconds,
    /// 10^6 ns.
    Milliseconds,
    /// 10^9 ns.
    Seconds,
}

impl Unit {
    /// That in which the time is at least 1, or nanoseconds.
    #[must_use]
    pub fn of(nanoseconds: f64) -> Self {
        match nanoseconds.abs() {
            size if size < 999.5 => Self::Nanoseconds,
            size if size < 999.5e3 => Self::Microseconds,
            size if size < 999.5e6 => Self::Milliseconds,
            _ => Self::Seconds,
        }
    }

    /// One for all of them, in which each still says something; `None` where there is none.
    #[must_use]
    pub fn for_all(times: &[f64]) -> Option<Self> {
        let mut sizes: Vec<f64> = times.iter().map(|it| it.abs()).filter(|it| *it > 0.0).collect();
        sizes.sort_by(f64::total_cmp);
        let unit = Self::of(*sizes.get(sizes.len() / 2)?);
        let (least, most) = (sizes.first()? / unit.size(), sizes.last()? / unit.size());
        (least >= 0.01 && most < 1e5).then_some(unit)
    }

    /// In nanoseconds.
    #[must_use]
    pub const fn size(self) -> f64 {
        match self {
            Self::Nanoseconds => 1.0,
            Self::Microseconds => 1e3,
            Self::Milliseconds => 1e6,
            Self::Seconds => 1e9,
        }
    }

    /// Its sign, in ASCII.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }
}

/// A time in the unit that fits, or in the one that is asked for, which is then not said.
#[must_use]
pub fn time(nanoseconds: f64, unit: Option<Unit>) -> String {
    if !is_sane(nanoseconds) {
        return "absurd".to_owned();
    }
    match unit {
        Some(unit) => {
            let value = nanoseconds / unit.size();
            // Two places whatever the size, so that points stand below each other.
            match value.abs() {
                _ if unit == Unit::Nanoseconds => format!("{value:.1}"),
                size if size < 0.1 && size > 0.0 => format!("{value:.3}"),
                _ => format!("{value:.2}"),
            }
        }
        None => {
            let unit = Unit::of(nanoseconds);
            format!("{} {}", digits(nanoseconds / unit.size()), unit.name())
        }
    }
}

/// Three digits, if there are so many; of what is small, two that say something.
#[must_use]
pub fn digits(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.095 {
        return small(value);
    }
    three(value)
}

/// Three digits, if there are so many, and two places where there is no more room.
#[must_use]
pub fn three(value: f64) -> String {
    let text = match value.abs() {
        size if !size.is_finite() || size >= ABSURD => return "absurd".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if text == "-0.00" { "0.00".to_owned() } else { text }
}

fn small(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "clamped")]
    #[expect(clippy::cast_sign_loss, reason = "clamped")]
    let places = (1.0 - value.abs().log10().floor()).clamp(2.0, 9.0) as usize;
    let text = format!("{value:.places$}");
    let is_zero = text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.'));
    if is_zero { "0.00".to_owned() } else { text }
}

/// A share of the whole.
#[must_use]
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        all if !(-1e6..=1e6).contains(&all) => "absurd".to_owned(),
        all if all > 0.0 && all < 0.95 => format!("{all:.1}%"),
        all => format!("{all:.0}%"),
    }
}

/// How often one is in the other.
#[must_use]
pub fn times(ratio: f64) -> String {
    let text = digits(ratio);
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) { text } else { text + "x" }
}

/// Whether it can be a time that was measured.
#[must_use]
pub fn is_sane(nanoseconds: f64) -> bool {
    nanoseconds.abs() < ABSURD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_unit_that_fits() {
        let shown: Vec<String> =
            [0.0, 0.4567, 12.34, 480.2, 999.4, 999.6, 9123.0, 45_040.0, 1.5e6, 2e9, -3.0]
                .map(|it| time(it, None))
                .to_vec();
        let wanted = [
            "0.00 ns", "0.46 ns", "12.3 ns", "480 ns", "999 ns", "1.00 us", "9.12 us", "45.0 us",
            "1.50 ms", "2.00 s", "-3.00 ns",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_column_has_one_unit_unless_it_hides_a_row() {
        assert_eq!(Unit::for_all(&[480.0, 9000.0, 45e3]), Some(Unit::Microseconds));
        assert_eq!(Unit::for_all(&[1.0, 9000.0, 45e3]), None);
        assert_eq!(Unit::for_all(&[9000.0, 45e3, 1e12]), None);
        assert_eq!(Unit::for_all(&[]), None);
        assert_eq!(time(480.0, Some(Unit::Microseconds)), "0.48");
        assert_eq!(time(11.2, Some(Unit::Microseconds)), "0.011");
    }

    #[test]
    fn what_is_no_number_is_said_to_be_absurd() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            assert_eq!(time(value, None), "absurd");
            assert_eq!(time(value, Some(Unit::Seconds)), "absurd");
            assert_eq!(digits(value), "absurd");
            assert_eq!(percent(value), "absurd");
            assert_eq!(times(value), "absurd");
        }
        assert_eq!((percent(0.004), percent(0.5)), ("0.4%".to_owned(), "50%".to_owned()));
        assert_eq!(
            [1.0 / 64.0, 1.0 / 512.0, 0.0, -3e-12].map(digits),
            ["0.016", "0.0020", "0.00", "0.00"]
        );
        assert_eq!((percent(0.0), times(3.84)), ("0%".to_owned(), "3.84x".to_owned()));
    }
}
