//! A histogram a row, in bins: a page stays small, however many samples there are.

use super::axis::Axis;
use super::plot::{described, noisy, percent};
use super::{style, time, together};
use crate::figures::{Figures, Line};
use crate::report::{Clock, Measured};
use crate::text::count;
use crate::units::{percent as share, times};
use maud::{Markup, html};
use measures::statistics::Summary;
use std::fmt::Write;

const BINS: u8 = 60;
/// From which ratio of what is shown on an axis is logarithmic.
const LONG: f64 = 8.0;

/// Of all rows, those of one name side by side.
pub(super) fn all(lines: &[Line<'_>]) -> Markup {
    html! {
        p {
            "Bars: how many of a row's samples lie there. Lines: p50, p90, p99. Each picture has an \
             axis of its own."
        }
        div.cards {
            @for group in together(lines) {
                article.card {
                    h3 {
                        bdi { (group[0].name) }
                        @if let Some(image) = &group[0].image { " " small { bdi { (image) } } }
                    }
                    p.what { bdi { (group[0].what) } }
                    div.panels { @for line in &group { (panel(line)) } }
                }
            }
        }
    }
}

fn panel(line: &Line<'_>) -> Markup {
    let ring = line.row.ring;
    html! {
        div class={ "panel " (style(ring).0) } {
            h4 {
                "ring " (ring)
                @if line.is_noisy() { " " (noisy()) }
            }
            @match &line.content {
                Err(nothing) => p.why { b { (nothing.word) } ": " bdi { (nothing.why) } },
                Ok(figures) => {
                    (histogram(line, figures))
                    (details(figures))
                }
            }
        }
    }
}

/// From where to where it is shown: a few samples that met something else would leave no room for
/// all others.
fn axis(summary: &Summary) -> Axis {
    let wide = (summary.p90 - summary.p10).max(summary.median.abs() * 0.01);
    let low = summary.least.max(summary.p10 - wide);
    let high = summary.most.min((summary.p90 + 4.0 * wide).max(low));
    let is_log = low > 0.0 && high / low > LONG;
    Axis::between(low, high, is_log)
}

/// How many samples each bin has, how many lie left of all, and how many right.
fn binned(samples: &[f64], axis: Axis) -> (Vec<u32>, [usize; 2]) {
    let edges = axis.edges(BINS);
    let (first, last) = (edges[0], edges[usize::from(BINS)]);
    let mut bins = vec![0; BINS.into()];
    let mut beyond = [0; 2];
    for sample in samples {
        match sample {
            it if *it < first && !axis.contains(*it) => beyond[0] += 1,
            it if *it > last && !axis.contains(*it) => beyond[1] += 1,
            it => {
                let bin = edges[1..usize::from(BINS)].partition_point(|edge| edge <= it);
                bins[bin] += 1;
            }
        }
    }
    (bins, beyond)
}

/// What the height of the bars is, and their width.
fn highest(bins: &[u32], axis: Axis) -> String {
    let most = bins.iter().copied().max().unwrap_or(0);
    let edges = axis.edges(BINS);
    if axis.is_log() {
        return format!("Highest bar: {most} samples.");
    }
    format!("Highest bar: {most} samples within {}.", time(edges[1] - edges[0]))
}

/// The outline of all bars, in bins and percent of the highest.
fn outline(bins: &[u32]) -> String {
    let highest = f64::from(bins.iter().copied().max().unwrap_or(0).max(1));
    let mut path = "M0 100".to_owned();
    for count in bins {
        let top = 100.0 - 100.0 * f64::from(*count) / highest;
        // Writing to a String does not fail.
        let _ = write!(path, "V{top:.1}h1");
    }
    path.push_str("V100Z");
    path
}

fn histogram(line: &Line<'_>, figures: &Figures<'_>) -> Markup {
    let summary = &figures.summary;
    let axis = axis(summary);
    let (bins, beyond) = binned(&figures.measured.samples(), axis);
    let marks = [("p50", summary.median), ("p90", summary.p90), ("p99", summary.p99)];
    html! {
        svg.histogram width="100%" height="130" role="img" {
            title { "Distribution of " (line.title()) ": " (described(figures)) }
            svg x="0" y="44" width="100%" height="66" viewBox={ "0 0 " (BINS) " 100" } preserveAspectRatio="none" {
                path.bars d=(outline(&bins)) {}
            }
            line.base x1="0" x2="100%" y1="110" y2="110" {}
            line.base x1="0" x2="0" y1="44" y2="110" {}
            line.base x1="-4" x2="0" y1="44" y2="44" {}
            text.count x="-6" y="48" text-anchor="end" { (bins.iter().max().copied().unwrap_or(0)) }
            text.count x="-6" y="110" text-anchor="end" { "0" }
            @for tick in axis.ticks() {
                line.base x1=(percent(tick.at)) x2=(percent(tick.at)) y1="110" y2="114" {}
                // More have no room in a picture as narrow as this.
                @if let Some(label) = tick.label.as_ref().filter(|_| tick.is_major) {
                    text x=(percent(tick.at)) y="126" text-anchor="middle" { (label) }
                }
            }
            @for ((name, value), y) in marks.into_iter().zip([11, 25, 39]) {
                (mark(name, value, y, axis))
            }
        }
        p.note {
            (highest(&bins, axis)) " "
            (beyond_words(beyond, summary))
            @if axis.is_log() { "Logarithmic axis. " }
        }
    }
}

fn mark(name: &str, value: f64, y: u8, axis: Axis) -> Markup {
    let at = axis.place(value);
    let label = format!("{name} {}", time(value));
    // Text stands on the side that has room.
    let (dx, side) = if at > 55.0 { ("-4", "end") } else { ("4", "start") };
    html! {
        @if axis.contains(value) {
            line class={ "quantile " (name) } x1=(percent(at)) x2=(percent(at)) y1=(y - 9) y2="110" {}
            text.label x=(percent(at)) dx=(dx) y=(y) text-anchor=(side) { (label) }
        } @else if at > 50.0 {
            text.label x="100%" y=(y) text-anchor="end" { (label) " \u{2192}" }
        } @else {
            text.label x="0" y=(y) { "\u{2190} " (label) }
        }
    }
}

fn beyond_words([left, right]: [usize; 2], summary: &Summary) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of samples, far below 2^52")]
    let part = |count: usize| match count as f64 / summary.count as f64 {
        it if it < 0.001 => "Fewer than 0.1%".to_owned(),
        it => share(it),
    };
    let mut text = String::new();
    if left > 0 {
        let _ = write!(
            text,
            "{} of the samples lie further left, down to {}. ",
            part(left),
            time(summary.least)
        );
    }
    if right > 0 {
        let _ = write!(
            text,
            "{} of the samples lie further right, up to {}. ",
            part(right),
            time(summary.most)
        );
    }
    text
}

/// What the timer took itself, and how far that moved.
fn timer(measured: &Measured) -> String {
    let moved = Summary::of(&measured.timers).filter(|it| it.count > 1);
    let when = match measured.clock {
        Clock::Guest => "beside each block of samples",
        Clock::Host => "once in each round",
    };
    let moved = moved.map_or_else(String::new, |it| {
        format!(" ({} to {}, {when})", time(it.least), time(it.most))
    });
    format!("{}{moved} subtracted", time(measured.timer))
}

fn details(figures: &Figures<'_>) -> Markup {
    /// Of rounds that are shown by themselves.
    const MOST: usize = 32;
    let it = &figures.summary;
    let measured = figures.measured;
    let clock = match measured.clock {
        Clock::Guest => "the guest's (RDTSC)",
        Clock::Host => "the host's (CLOCK_MONOTONIC)",
    };
    html! {
        details {
            summary { "Details" }
            dl {
                dt { "Samples" } dd { (it.count) " in " (count(figures.rounds.len(), "round")) }
                dt { "Least, most" } dd { (time(it.least)) ", " (time(it.most)) }
                dt { "p90 over p10" } dd { (figures.spread().map_or_else(|| "no meaning".to_owned(), times)) }
                dt { "Operations a sample" } dd { (measured.operations) }
                dt { "Warm-up" } dd { (measured.warm_up) " samples a round" }
                dt { "Clock" } dd { (clock) ", " (timer(measured)) }
                @if !figures.noise.is_empty() { dt { "Noisy" } dd { (figures.noise.join(", ")) } }
                dt { "p50 of each round" }
                dd {
                    @for (number, median) in figures.rounds.iter().take(MOST).enumerate() {
                        @if number > 0 { ", " }
                        (time(*median))
                    }
                    @if figures.rounds.len() > MOST { " and so on" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(samples: &[f64]) -> Summary {
        Summary::of(samples).expect("samples")
    }

    #[test]
    fn every_sample_is_in_a_bin_or_counted_beside() {
        let mut samples: Vec<f64> = (0..1000).map(|it| 100.0 + f64::from(it) / 50.0).collect();
        samples.extend([1.0, 5000.0, 6000.0]);
        let axis = axis(&summary(&samples));
        let (bins, beyond) = binned(&samples, axis);
        assert_eq!(bins.iter().sum::<u32>(), 1000);
        assert_eq!(beyond, [1, 2]);
        let words = beyond_words(beyond, &summary(&samples));
        assert!(
            words.contains("0.2% of the samples lie further right, up to 6.00\u{a0}\u{b5}s"),
            "{words}"
        );
        assert!(words.contains("Fewer than 0.1% of the samples lie further left"), "{words}");
    }

    #[test]
    fn samples_that_are_all_alike_have_a_picture() {
        for value in [0.0, -3.0, 7.0, 1e14] {
            let samples = [value; 8];
            let (bins, beyond) = binned(&samples, axis(&summary(&samples)));
            assert_eq!((bins.iter().sum::<u32>(), beyond), (8, [0, 0]), "{value}");
        }
    }

    #[test]
    fn an_outline_is_as_high_as_its_highest_bin() {
        assert_eq!(outline(&[0, 2, 1]), "M0 100V100.0h1V0.0h1V50.0h1V100Z");
    }
}
