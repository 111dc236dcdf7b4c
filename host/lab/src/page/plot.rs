//! Rows beneath each other on one logarithmic scale: a group a name, a lane a ring (or a side of a
//! comparison), each lane a picture of its own, so that names and reasons are plain text.

use super::axis::{Axis, Tick};
use super::time;
use crate::figures::{Figures, Line, Nothing};
use maud::{Markup, html};
use measures::statistics::Summary;

/// What a median is marked by; a second sign beside the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Dot,
    Diamond,
    Square,
}

/// Lanes that stand together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// Where it is from, or which ring.
    pub(super) below: Option<String>,
    /// A class and a few words.
    pub(super) remark: Option<(&'static str, String)>,
    pub(super) lanes: Vec<Lane>,
}

/// A line of the plot.
#[derive(Debug)]
pub(super) struct Lane {
    tag: String,
    class: &'static str,
    shape: Shape,
    /// What a screen reader says of it.
    title: String,
    content: Result<Summary, Nothing>,
    is_noisy: bool,
}

impl Lane {
    pub(super) fn of(line: &Line<'_>, tag: String, class: &'static str, shape: Shape) -> Self {
        let title = match &line.content {
            Ok(figures) => format!("{}, {tag}: {}", line.name, described(figures)),
            Err(nothing) => format!("{}, {tag}: {}, {}", line.name, nothing.word, nothing.why),
        };
        let content = line.content.as_ref().map(|it| it.summary.clone()).map_err(Clone::clone);
        Self { tag, class, shape, title, content, is_noisy: line.is_noisy() }
    }

    /// One for what one side of a comparison does not have.
    pub(super) fn missing(tag: String, class: &'static str, why: &str) -> Self {
        let nothing = Nothing { word: "not there", why: why.to_owned() };
        let (title, shape) = (why.to_owned(), Shape::Dot);
        Self { tag, class, shape, title, content: Err(nothing), is_noisy: false }
    }
}

/// The figures in a sentence.
pub(super) fn described(figures: &Figures<'_>) -> String {
    let it = &figures.summary;
    let interval = it.interval.map_or_else(
        || "too few rounds for an interval".to_owned(),
        |(low, high)| format!("95% interval {} to {}", time(low), time(high)),
    );
    format!(
        "p50 {}, {interval}, p10 {}, p90 {}, p99 {}",
        time(it.median),
        time(it.p10),
        time(it.p90),
        time(it.p99),
    )
}

/// The plot of all groups.
pub(super) fn lanes(title: &str, groups: &[Group]) -> Markup {
    let all = groups.iter().flat_map(|it| &it.lanes);
    let summaries = all.filter_map(|it| it.content.as_ref().ok());
    let values = summaries.flat_map(|it| {
        let (low, high) = it.interval.unwrap_or((it.median, it.median));
        [it.p10, it.p99, low, high]
    });
    // Without a figure any axis will do.
    let axis = Axis::log(values).unwrap_or_else(|| Axis::between(100.0, 1e5, true));
    let ticks = axis.ticks();
    html! {
        figure.plot {
            figcaption { (title) }
            (scale(&ticks, "top"))
            @for group in groups {
                div.group {
                    h3.name {
                        bdi { (group.name) }
                        @if let Some(below) = &group.below { " " small.below { bdi { (below) } } }
                        @if let Some((class, words)) = &group.remark {
                            " " small class={ "remark " (class) } { (words) }
                        }
                    }
                    div.lanes { @for it in &group.lanes { (lane(it, axis, &ticks)) } }
                }
            }
            (scale(&ticks, "bottom"))
        }
    }
}

/// The labels of the axis.
fn scale(ticks: &[Tick], class: &str) -> Markup {
    html! {
        div.group.(class) aria-hidden="true" {
            div.name {}
            div.lanes { div.lane {
                span.tag {}
                svg.axis width="100%" height="18" {
                    @for tick in ticks {
                        @if let Some(label) = &tick.label {
                            text.minor[!tick.is_major] x=(percent(tick.at)) y="13" text-anchor="middle" { (label) }
                        }
                    }
                }
                span.value {}
            } }
        }
    }
}

fn lane(lane: &Lane, axis: Axis, ticks: &[Tick]) -> Markup {
    html! {
        div class={ "lane " (lane.class) } {
            span.tag { (lane.tag) }
            @match &lane.content {
                Ok(summary) => {
                    svg width="100%" height="20" role="img" {
                        title { (lane.title) }
                        @for tick in ticks {
                            line.grid.minor[tick.label.is_none()] x1=(percent(tick.at)) x2=(percent(tick.at)) y1="0" y2="100%" {}
                        }
                        (marks(summary, lane.shape, axis))
                    }
                    span.value {
                        (time(summary.median))
                        @if lane.is_noisy { " " (noisy()) }
                    }
                }
                Err(nothing) => p.why { b { (nothing.word) } ": " bdi { (nothing.why) } }
            }
        }
    }
}

/// The sign of a noisy row.
pub(super) fn noisy() -> Markup {
    html! { span.noisy { "noisy" } }
}

fn marks(summary: &Summary, shape: Shape, axis: Axis) -> Markup {
    let at = |value: f64| percent(axis.place(value));
    let wide = |low: f64, high: f64| percent(axis.place(high) - axis.place(low));
    html! {
        rect.bar x=(at(summary.p10)) y="6" width=(wide(summary.p10, summary.p90)) height="8" {}
        line.tail x1=(at(summary.p90)) x2=(at(summary.p99)) y1="10" y2="10" {}
        line.tick x1=(at(summary.p99)) x2=(at(summary.p99)) y1="4" y2="16" {}
        @if let Some((low, high)) = summary.interval {
            line.interval x1=(at(low)) x2=(at(high)) y1="10" y2="10" {}
        }
        @if summary.median > 0.0 {
            svg x=(at(summary.median)) y="10" overflow="visible" { (mark(shape)) }
        } @else {
            // It has no place on such a scale.
            text.beyond x="0" y="14" { "\u{2190}" }
        }
    }
}

/// The mark of a median, about the origin.
fn mark(shape: Shape) -> Markup {
    html! {
        @match shape {
            Shape::Dot => circle.mark r="4.5" {},
            Shape::Diamond => path.mark d="M-5.5 0L0-5.5L5.5 0L0 5.5Z" {},
            Shape::Square => path.mark d="M-4-4H4V4H-4Z" {},
        }
    }
}

/// An entry of a legend.
pub(super) fn key(class: &str, shape: Shape, words: &str) -> Markup {
    html! {
        span class={ "key " (class) } {
            svg width="28" height="14" aria-hidden="true" {
                rect.bar x="0" y="3" width="28" height="8" {}
                svg x="14" y="7" overflow="visible" { (mark(shape)) }
            }
            " " (words)
        }
    }
}

/// A length.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2}%", share.clamp(0.0, 100.0))
}
