//! Pages as a browser parses them: nothing gets out of where it is put, nothing is loaded, nothing
//! runs, whatever names, texts and numbers a report has.

mod sample;

use lab::compare::Comparison;
use lab::page;
use lab::report::{Finding, Report};
use scraper::{ElementRef, Html, Selector};
use std::sync::LazyLock;

/// An element's name and its attributes' names, deeper ones set in; of text, only that there is
/// some. Geometry is a matter of numbers, and left out.
fn outline(page: &str) -> Vec<String> {
    let html = Html::parse_document(page);
    let mut lines = Vec::new();
    below(html.root_element(), 0, &mut lines);
    lines
}

fn below(element: ElementRef<'_>, depth: usize, lines: &mut Vec<String>) {
    let mut names: Vec<&str> = element.value().attrs().map(|(name, _)| name).collect();
    names.sort_unstable();
    lines.push(format!("{}{} {}", " ".repeat(depth), element.value().name(), names.join(" ")));
    for child in element.children().filter_map(ElementRef::wrap) {
        below(child, depth + 1, lines);
    }
}

fn parsed(page: &str) -> Html {
    Html::parse_document(page)
}

fn count(html: &Html, selector: &str) -> usize {
    html.select(&Selector::parse(selector).expect("a selector")).count()
}

/// Every page of made-up reports, made once.
fn pages() -> &'static [(&'static str, String)] {
    static PAGES: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(all_pages);
    &PAGES
}

fn all_pages() -> Vec<(&'static str, String)> {
    let all: [(_, Report); 4] = [
        ("sample", sample::report(1)),
        ("other", sample::other(2)),
        ("hostile", sample::hostile()),
        ("absurd", sample::absurd()),
    ];
    let mut pages = Vec::new();
    for (name, report) in &all {
        pages.push((*name, page::report(report)));
        for (_, other) in &all {
            pages.push((*name, page::comparison(&Comparison::of(report, other))));
        }
    }
    pages
}

#[test]
fn hostile_texts_make_the_same_elements_as_harmless_ones() {
    let (hostile, harmless) = (sample::hostile(), sample::harmless());
    assert_eq!(outline(&page::report(&hostile)), outline(&page::report(&harmless)));
    let compared = |report| page::comparison(&Comparison::of(report, &sample::report(2)));
    assert_eq!(outline(&compared(&hostile)), outline(&compared(&harmless)));
}

#[test]
fn nothing_runs_and_nothing_is_loaded() {
    for (name, page) in pages() {
        let html = parsed(page);
        for selector in [
            "script",
            "img",
            "link",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "input",
            "use",
            "image",
            "foreignObject",
            "video",
            "audio",
            "[src]",
            "[srcset]",
            "[style]",
        ] {
            assert_eq!(count(&html, selector), 0, "{name} has {selector}");
        }
        assert_eq!((count(&html, "style"), count(&html, "meta[http-equiv]")), (1, 1), "{name}");
        for element in html.select(&Selector::parse("*").expect("all")) {
            for (attribute, value) in element.value().attrs() {
                assert!(!attribute.starts_with("on"), "{name}: {attribute}");
                let is_link = matches!(attribute, "href" | "xlink:href");
                assert!(!is_link || value.starts_with('#'), "{name}: {value}");
            }
        }
        let style = html.select(&Selector::parse("style").expect("one")).next().expect("one");
        let style: String = style.text().collect();
        assert!(!style.contains("url(") && !style.contains("@import"), "{name}");
        assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'"), "{name}");
    }
}

#[test]
fn nothing_invisible_is_left_in_a_page() {
    for (name, page) in pages() {
        let bad = page.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{ad}')
        });
        assert_eq!(bad, None, "{name}");
        assert!(
            !page.contains("NaN") && !page.contains(">inf") && !page.contains("\"inf"),
            "{name}"
        );
    }
}

#[test]
fn names_are_shown_as_they_are() {
    let text: String = parsed(&page::report(&sample::hostile())).root_element().text().collect();
    for shown in [
        "<script>alert(1)</script>",
        "\\u{202e}txet desrever\\u{202c}",
        "\\0\\u{1}\\u{1b}[2J",
        "(empty)",
        "&lt;b&gt;&amp;&#60;script",
        "<b><b><b>",
    ] {
        assert!(text.contains(shown), "{shown}");
    }
}

#[test]
fn a_page_is_small_and_has_all_rows() {
    let report = sample::report(1);
    let page = page::report(&report);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    let html = parsed(&page);
    assert_eq!(count(&html, "#figures tbody tr"), report.rows.len());
    assert_eq!(count(&html, "#rows .lane.s0, #rows .lane.s1"), report.rows.len());
    let measured = report.rows.iter().filter(|it| it.measured().is_some()).count();
    assert_eq!(count(&html, "#distributions svg.histogram"), measured);
    assert_eq!(count(&html, "#rows .why"), report.rows.len() - measured);
    assert_eq!(count(&html, "#rows .noisy"), 2);
}

/// As many samples and rows as somebody likes.
#[test]
fn a_page_stays_small() {
    let mut report = sample::report(1);
    if let Finding::Measured(measured) = &mut report.rows[0].finding {
        measured.rounds = vec![vec![1000.0; 20_000]; 50];
    }
    report.rows = report.rows.iter().cycle().take(2000).cloned().collect();
    report.rows.iter_mut().skip(60).for_each(|row| {
        if let Finding::Measured(measured) = &mut row.finding {
            measured.rounds.truncate(1);
        }
    });
    let page = page::report(&report);
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    assert!(page.contains("only 300 of 2000 rows"), "the cut is said");
}

#[test]
fn a_page_is_fit_for_screen_readers() {
    for (name, page) in pages() {
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{name}");
        let html = parsed(page);
        assert_eq!(count(&html, "h1"), 1, "{name}");
        // An inner picture is a part of its outer one.
        let svg = Selector::parse("svg:not(svg svg)").expect("a selector");
        for picture in html.select(&svg) {
            let first = picture.children().find_map(ElementRef::wrap);
            let has_title = first.is_some_and(|it| it.value().name() == "title");
            let hidden =
                std::iter::successors(Some(picture), |it| it.parent().and_then(ElementRef::wrap))
                    .any(|it| it.attr("aria-hidden") == Some("true"));
            assert!(hidden || (has_title && picture.attr("role") == Some("img")), "{name}");
        }
        assert_eq!(count(&html, "th:not([scope])"), 0, "{name}");
        assert_eq!(count(&html, "table"), count(&html, "caption"), "{name}");
        let ids: Vec<_> = html
            .select(&Selector::parse("[id]").expect("ids"))
            .filter_map(|it| it.attr("id"))
            .collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "{name}");
        assert_eq!(html.errors, Vec::<std::borrow::Cow<'_, str>>::new(), "{name}");
    }
}
