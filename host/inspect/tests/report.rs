//! The page of a run as a browser parses it: nothing gets out of where it is put, whatever a guest's
//! texts and names are; nothing is loaded, and nothing runs but the page's own script.

use inspect::profile::Profiler;
use inspect::report::{Recorder, Report, Said, Table};
use inspect::{Frame, KvmKind, Source, Symbols, drive};
use portcall::{Image, Kvm, Limit, Outcome, Vm};
use scraper::{ElementRef, Html, Selector};

/// mov al, 'x'; out 0xe9, al; jmp back to the OUT
const PRINTS: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfc];

/// What would become elements, attributes or scripts, and what is not seen.
const HOSTILE: &str = "</script></title><script>alert(1)</script>\" onload='alert(2)' x=\"\
    <img src=x onerror=alert(3)>&lt;b&gt;\u{202e}\0\x1b[2J\u{2066}\u{2069}\u{200f}-->]]>";
const HARMLESS: &str = "a name of no harm";

/// Runs the guest up to so many exits, and makes a page with that text wherever a guest's stands.
fn page(exits: u64, text: &str) -> String {
    let kvm = Kvm::open().expect("KVM");
    let image = Image::flat(PRINTS).expect("an image");
    let (recorder, mut profiler) = (Recorder::new(), Profiler::new(1000, &image, &[]));
    let builder = Vm::builder(&kvm, &image).memory(2 << 20).observe(recorder.clone());
    let builder = profiler.equip(builder).limit(Limit::Exits(exits));
    let mut vm = builder.build().expect("a VM");
    let outcome = drive::run(&mut vm, vec![&mut profiler]).expect("runs");
    let symbols = Symbols::new(&[], 0);
    filled(&vm, &image, &outcome, &symbols, &recorder, text)
}

fn filled(
    vm: &Vm,
    image: &Image<'_>,
    outcome: &Outcome,
    symbols: &Symbols<'_>,
    recorder: &Recorder,
    text: &str,
) -> String {
    let kind = KvmKind::detect();
    let mut explanation = inspect::explain(vm, image, outcome, &[], kind).expect("explained");
    let source = Source { file: text.into(), line: 1, column: 1 };
    explanation.headline = text.to_owned();
    explanation.notes = vec![text.to_owned()];
    explanation.instruction = Some(text.to_owned());
    explanation.place = Some(source.clone());
    explanation.backtrace = vec![Frame {
        address: 1,
        function: Some(text.to_owned()),
        offset: Some(1),
        source: Some(source),
        inlined: true,
    }];
    let mut report = Report::new(text, vm, image, outcome, &explanation);
    report.verdict = Some((false, text.to_owned()));
    report.facts = vec![("image", text.to_owned())];
    report.unmet = vec![(text.to_owned(), text.to_owned())];
    report.notes = vec![text.to_owned()];
    report.symbols = Some(symbols);
    report.recorder = Some(recorder);
    report.said = Said {
        console: (text.as_bytes().to_vec(), text.as_bytes().to_vec()),
        console_between: 3,
        log: vec![("info", text.to_owned())],
        log_between: (1, 0),
    };
    report.measured = Table {
        header: vec!["a", "b"],
        rows: vec![vec![text.to_owned(); 2]],
        notes: vec![text.to_owned()],
    };
    report.page()
}

/// Elements with the names of their attributes, deeper ones set in. How many exits were
/// interruptions is a matter of time, so what is counted by exits is left out.
fn outline(page: &str) -> Vec<String> {
    fn below(element: ElementRef<'_>, depth: usize, lines: &mut Vec<String>) {
        let mut names: Vec<&str> = element.value().attrs().map(|(name, _)| name).collect();
        names.sort_unstable();
        let id = element.attr("id").unwrap_or_default();
        lines.push(format!("{}{} {names:?} {id}", " ".repeat(depth), element.value().name()));
        if matches!(id, "timeline" | "exits" | "memory") {
            return;
        }
        element.children().filter_map(ElementRef::wrap).for_each(|it| below(it, depth + 1, lines));
    }
    let mut lines = Vec::new();
    below(Html::parse_document(page).root_element(), 0, &mut lines);
    lines
}

fn count(html: &Html, selector: &str) -> usize {
    html.select(&Selector::parse(selector).expect("a selector")).count()
}

#[test]
fn hostile_texts_make_the_same_elements_as_harmless_ones() {
    assert_eq!(outline(&page(50, HOSTILE)), outline(&page(50, HARMLESS)));
}

#[test]
fn nothing_runs_but_the_pages_own_script_and_nothing_is_loaded() {
    let page = page(50, HOSTILE);
    let html = Html::parse_document(&page);
    assert_eq!(count(&html, "script"), 1);
    assert_eq!(
        count(&html, "img, link, iframe, object, embed, base, form, use, image, [src], [style]"),
        0
    );
    for element in html.select(&Selector::parse("*").expect("all")) {
        for (name, value) in element.value().attrs() {
            assert!(!name.starts_with("on"), "{name}");
            assert!(name != "href" || value.starts_with('#'), "{value}");
        }
    }
    let script = html.select(&Selector::parse("script").expect("one")).next().expect("one");
    let script: String = script.text().collect();
    assert_eq!(script, include_str!("../src/report/script.js"));
    assert!(page.contains("form-action 'none'; script-src 'sha256-"));
    let unseen = |c: &char| {
        (c.is_control() && !"\n\t".contains(*c))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert_eq!(page.chars().find(unseen), None);
    let text: String = html.root_element().text().collect();
    assert!(text.contains("<img src=x onerror=alert(3)>&lt;b&gt;\\u{202e}\\0\\u{1b}[2J"));
}

#[test]
fn a_page_is_fit_for_screen_readers() {
    let page = page(50, HARMLESS);
    let html = Html::parse_document(&page);
    assert_eq!(html.errors, Vec::<std::borrow::Cow<'_, str>>::new());
    assert_eq!(count(&html, "h1"), 1);
    assert_eq!(count(&html, "th:not([scope])"), 0);
    assert_eq!(count(&html, "table"), count(&html, "caption"));
    for picture in html.select(&Selector::parse("svg:not(svg svg)").expect("a selector")) {
        let first = picture.children().find_map(ElementRef::wrap);
        let has_title = first.is_some_and(|it| it.value().name() == "title");
        let is_hidden = picture.attr("aria-hidden") == Some("true");
        assert!(is_hidden || has_title && picture.attr("role") == Some("img"));
    }
}

#[test]
fn a_long_run_makes_a_page_of_bounded_size_that_says_what_it_leaves_out() {
    let page = page(20_000, &HOSTILE.repeat(1000));
    assert!(page.len() < 3 << 20, "{} bytes", page.len());
    let html = Html::parse_document(&page);
    assert_eq!(count(&html, "#events tr[data-a]"), 1200);
    assert!(page.contains("exits are left out here"));
}
