//! Pieces of pictures. Places are in percent of the width, so that text keeps its size where the
//! page is narrow.

use maud::{Markup, html};

/// A bar of so many percent, for a cell of a table.
pub(super) fn bar(parts: &[(&'static str, f64)]) -> Markup {
    let starts = parts.iter().scan(0.0, |at, (_, width)| {
        let start = *at;
        *at += width;
        Some(start)
    });
    html! {
        svg.bar width="100%" height="12" aria-hidden="true" {
            @for ((class, width), at) in parts.iter().zip(starts) {
                rect class=(class) x={ (format!("{at:.2}")) "%" } y="0" height="12"
                    width={ (format!("{width:.2}")) "%" } {}
            }
        }
    }
}

/// A patch of a legend.
pub(super) fn key(class: &str, name: &str) -> Markup {
    html! {
        span.key {
            svg width="12" height="12" aria-hidden="true" { rect class=(class) width="12" height="12" {} }
            " " (name)
        }
    }
}
