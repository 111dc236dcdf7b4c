//! What every page has around what it says.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The page's own style, and no text from elsewhere.
const STYLE: &str = include_str!("style.css");
/// Nothing is loaded and nothing runs, whatever stands in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A part of the page.
pub(super) struct Section {
    id: &'static str,
    title: &'static str,
    content: Markup,
}

impl Section {
    pub(super) const fn new(id: &'static str, title: &'static str, content: Markup) -> Self {
        Self { id, title, content }
    }
}

/// The whole page.
pub(super) fn document(
    title: &str,
    subtitle: &Markup,
    warnings: &[String],
    sections: &[Section],
) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { (title) } (subtitle) }
                @if !warnings.is_empty() {
                    ul.warnings aria-label="Warnings" { @for it in warnings { (warning(it)) } }
                }
                nav aria-label="Parts of this page" {
                    @for it in sections { a href={ "#" (it.id) } { (it.title) } " " }
                }
                main {
                    @for it in sections {
                        section id=(it.id) aria-labelledby={ (it.id) "-title" } {
                            h2 id={ (it.id) "-title" } { (it.title) }
                            (it.content)
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

/// Its first word stands out.
fn warning(text: &str) -> Markup {
    match text.split_once(": ") {
        Some((word, rest)) => html! { li { b { (word) } ": " (rest) } },
        None => html! { li { (text) } },
    }
}
