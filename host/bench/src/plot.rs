//! A row's figures as a picture: how they are distributed, the median with its interval, the budget.

use crate::result::Measured;
use crate::row::{Budget, Figure};
use crate::scale::{Grown, Point};
use crate::show;
use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea, IntoFont, IntoLogRange,
    PathElement, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (800, 400);
const BINS: u8 = 40;
const OURS: RGBColor = RGBColor(70, 110, 180);
const LIMIT: RGBColor = RGBColor(200, 60, 40);

/// Writes NAME.svg into a directory.
pub(crate) fn plot(row: &Measured, directory: &Path) -> Result<(), String> {
    let path = directory.join(format!("{}.svg", row.name));
    let area = SVGBackend::new(&path, SIZE).into_drawing_area();
    draw(row, &area).map_err(|error| format!("cannot draw {}: {error}", path.display()))
}

fn draw(row: &Measured, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn Error>> {
    let budget = row.budget.map(|(Budget::AtMost(it) | Budget::AtLeast(it))| it);
    let (low, high) = range(row, budget);
    let heights = histogram(&row.samples, low, high);
    let top = heights.iter().copied().max().unwrap_or(0) + 1;
    area.fill(&WHITE)?;
    let title = match row.kind {
        Figure::Ratio => format!("{}, ours over bare", row.name),
        Figure::Difference => format!("{}, ours without bare, {}", row.name, row.unit),
        Figure::Ours => format!("{}, {}", row.name, row.unit),
    };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(low..high, 0..top)?;
    let median = show::figure(row, row.figure.median);
    let below = format!("median {median} ({})", show::interval(&row.figure));
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc(match row.budget {
            Some(budget) => format!("{below}; budget {budget}"),
            None => below,
        })
        .y_desc("rounds")
        .draw()?;
    let edges = edges(low, high);
    let bars = heights.iter().zip(edges.windows(2)).map(|(height, edge)| {
        Rectangle::new([(edge[0], 0), (edge[1], *height)], OURS.mix(0.6).filled())
    });
    chart.draw_series(bars)?;
    if let Some((from, to)) = row.figure.interval {
        let (from, to) = (from.max(low), to.min(high));
        chart.draw_series([Rectangle::new([(from, 0), (to, top)], BLACK.mix(0.2).filled())])?;
    }
    let line = |at: f64, style: RGBColor| {
        PathElement::new(vec![(at, 0), (at, top)], style.stroke_width(2))
    };
    chart.draw_series([line(row.figure.median, BLACK)])?;
    // Far outside its range plotters' integers overflow.
    let shown = budget.filter(|at| (low..=high).contains(at));
    chart.draw_series(shown.map(|at| line(at, LIMIT)))?;
    area.present()?;
    Ok(())
}

/// Writes NAME.svg with both sides of a curve, both axes logarithmic.
pub(crate) fn curve(curve: &Grown, directory: &Path) -> Result<(), String> {
    let path = directory.join(format!("{}.svg", curve.name));
    let area = SVGBackend::new(&path, SIZE).into_drawing_area();
    draw_curve(curve, &area).map_err(|error| format!("cannot draw {}: {error}", path.display()))
}

fn draw_curve(
    curve: &Grown,
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), Box<dyn Error>> {
    // A size of 0 has no place on a logarithmic axis: it is shown as the half of the next.
    let sizes: Vec<f64> = curve.points.iter().map(|it| size_of(it.size)).collect();
    let next = sizes.iter().copied().find(|size| *size > 0.0).unwrap_or(1.0);
    let places: Vec<f64> = sizes.iter().map(|size| size.max(next / 2.0)).collect();
    let figures = || curve.points.iter().flat_map(|it| [it.ours, it.bare]).filter(|it| *it > 0.0);
    let (low, high) =
        figures().fold((f64::MAX, 1e-9_f64), |(low, high), it| (low.min(it), high.max(it)));
    let (from, to) =
        (places.first().copied().unwrap_or(1.0), places.last().copied().unwrap_or(1.0));
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}, {}", curve.name, curve.unit), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (from..to.max(from * 1.01)).log_scale(),
            (low.min(high) / 1.5..high * 1.5).log_scale(),
        )?;
    chart.configure_mesh().x_desc(curve.of.as_str()).y_desc(curve.unit.as_str()).draw()?;
    for (name, color, value) in [
        ("ours", OURS, (|point: &Point| point.ours) as fn(&Point) -> f64),
        ("bare", LIMIT, |point: &Point| point.bare),
    ] {
        let line: Vec<_> = places.iter().copied().zip(curve.points.iter().map(value)).collect();
        let line: Vec<_> = line.into_iter().filter(|(_, value)| *value > 0.0).collect();
        if let Some(end) = line.last() {
            chart.draw_series([Text::new(
                name,
                *end,
                ("sans-serif", 14).into_font().color(&color),
            )])?;
        }
        let dots: Vec<_> = line.iter().map(|at| Circle::new(*at, 3, color.filled())).collect();
        chart.draw_series([PathElement::new(line, color.stroke_width(2))])?;
        chart.draw_series(dots)?;
    }
    area.present()?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn size_of(size: u64) -> f64 {
    size as f64
}

/// From the lowest to the highest figure that is shown: a few rounds that met something else would
/// leave no room for all others, and count for the bins at the ends.
fn range(row: &Measured, budget: Option<f64>) -> (f64, f64) {
    let (p10, p90) = (row.figure.p10, row.figure.p90);
    let beside = (p90 - p10).max(row.figure.median.abs() * 0.01).max(1e-9);
    let (low, high) = (p10 - beside, p90 + beside);
    match budget {
        // One that is far away is said in words.
        Some(at) if (at - row.figure.median).abs() < 10.0 * beside => {
            (low.min(at - beside / 4.0), high.max(at + beside / 4.0))
        }
        _ => (low, high),
    }
}

/// The bounds of all bins.
fn edges(low: f64, high: f64) -> Vec<f64> {
    let width = (high - low) / f64::from(BINS);
    (0..=BINS).map(|bin| low + width * f64::from(bin)).collect()
}

fn histogram(samples: &[f64], low: f64, high: f64) -> Vec<usize> {
    let edges = edges(low, high);
    let mut heights = vec![0; BINS.into()];
    for sample in samples {
        let bin = edges[1..usize::from(BINS)].partition_point(|edge| edge <= sample);
        heights[bin] += 1;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::measured;

    #[test]
    fn every_sample_is_in_a_bin() {
        let heights = histogram(&[-5.0, 0.0, 0.51, 0.99, 1.0, 7.0], 0.0, 1.0);
        assert_eq!(heights.iter().sum::<usize>(), 6);
        assert_eq!((heights[0], heights[20], heights[39]), (2, 1, 3));
    }

    #[test]
    fn a_picture_shows_the_median_and_the_budget() {
        let folder = tempfile::tempdir().expect("a directory");
        for samples in [&[1.0, 1.01, 1.5, 1.02, 1.0, 0.9, 1.0][..], &[1.0], &[0.0; 9]] {
            plot(&measured("call-ring-0", samples), folder.path()).expect("drawn");
            let text = std::fs::read_to_string(folder.path().join("call-ring-0.svg"));
            let text = text.expect("written");
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
            assert!(text.contains("median") && text.contains("budget at most 1.02"), "{text}");
        }
    }
}
