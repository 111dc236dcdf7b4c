//! Coverage as a page: one file, nothing to load, no script.

use super::{Coverage, File};
use crate::symbols::source_text;
use std::io::{self, Write};
use std::path::Path;

/// The widest line of source that is shown.
const WIDEST: usize = 400;

const STYLE: &str = "\
:root { color-scheme: light dark;
  --back: light-dark(#fff, #16181d); --text: light-dark(#1d2127, #d9dde3);
  --faint: light-dark(#667, #8d95a3); --rule: light-dark(#dde1e7, #2d323b);
  --hit: light-dark(#dff3e2, #17331f); --miss: light-dark(#fbe0dd, #46201f);
  --hit-bar: light-dark(#2e9e4f, #3fae62); --miss-bar: light-dark(#d64a3e, #d8584c); }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; }
p { color: var(--faint); margin: .3rem 0 1.2rem; }
table.index { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.index th { text-align: left; color: var(--faint); font-weight: 500; }
.index th, .index td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); }
.index .number { text-align: right; white-space: nowrap; }
.index tfoot td { font-weight: 600; border: 0; }
.bar { display: block; width: 9rem; height: .6rem; border-radius: .3rem; overflow: hidden;
  background: var(--miss-bar); }
.bar i { display: block; height: 100%; background: var(--hit-bar); }
a { color: inherit; overflow-wrap: anywhere; }
details { margin: 1rem 0; border: 1px solid var(--rule); border-radius: .4rem; }
summary { cursor: pointer; padding: .5rem .8rem; font-weight: 600; overflow-wrap: anywhere; }
summary span { color: var(--faint); font-weight: 400; }
.source { scroll-margin-top: 3rem; margin: 0; padding: 0 0 .5rem; overflow-x: auto; font: 13px/1.45 ui-monospace, monospace;
  tab-size: 4; }
.source div { min-width: max-content; padding-right: 1rem; white-space: pre; }
.source div::before { content: attr(data-n); display: inline-block; width: 4rem;
  margin-right: .9rem; padding-right: .5rem; text-align: right; color: var(--faint);
  border-right: 3px solid transparent; }
.hit { background: var(--hit); } .hit::before { border-color: var(--hit-bar) !important; }
.miss { background: var(--miss); } .miss::before { border-color: var(--miss-bar) !important; }
.key span { padding: 0 .4rem; }
@media print { details { break-inside: avoid; } }
";

impl Coverage {
    /// Writes a page with a table of the files, and their lines of source where these can be read:
    /// paths without a root are looked for in the current directory. `title` is above it.
    ///
    /// # Errors
    /// What is written to fails.
    pub fn write_html(&self, title: &str, to: &mut dyn Write) -> io::Result<()> {
        let title = escaped(title);
        writeln!(
            to,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>Coverage of {title}</title>\n<style>\n{STYLE}</style></head><body>\n\
             <h1>Coverage of {title}</h1>"
        )?;
        let here = std::env::current_dir().unwrap_or_default();
        let name =
            |path: &Path| escaped(&path.strip_prefix(&here).unwrap_or(path).to_string_lossy());
        writeln!(
            to,
            "<p class=\"key\">Lines <span class=\"hit\">reached</span> <span class=\"miss\">not \
             reached</span> and without code. How often a line was reached is not counted.</p>"
        )?;
        if self.files.is_empty() {
            return writeln!(
                to,
                "<p>No line of the sources that were asked for has code.</p>\n</body></html>"
            );
        }
        writeln!(
            to,
            "<table class=\"index\"><thead><tr><th>File<th><th class=\"number\">Lines\
             <th class=\"number\">Reached<th class=\"number\">Functions</tr></thead><tbody>"
        )?;
        for (i, (path, file)) in self.files.iter().enumerate() {
            let name = format!("<a href=\"#f{i}\">{}</a>", name(path));
            write_row(to, &name, file.reached(), file.called())?;
        }
        writeln!(to, "</tbody><tfoot>")?;
        let called = self.files.values().map(File::called);
        let called = called.fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
        write_row(to, "All", self.reached(), called)?;
        writeln!(to, "</tfoot></table>")?;
        for (i, (path, file)) in self.files.iter().enumerate() {
            let (reached, lines) = file.reached();
            // A page of one file is about that file.
            let open = if self.files.len() == 1 { " open" } else { "" };
            writeln!(
                to,
                "<details{open}><summary>{} <span>{reached} of {lines} lines, {}</span>\
                 </summary>",
                name(path),
                share((reached, lines)),
            )?;
            // A link to what is within opens it.
            write!(to, "<div class=\"source\" id=\"f{i}\">")?;
            file.write_source(path, to)?;
            writeln!(to, "</details>")?;
        }
        writeln!(to, "</body></html>")
    }
}

/// A row of the table.
fn write_row(
    to: &mut dyn Write,
    name: &str,
    lines: (usize, usize),
    functions: (usize, usize),
) -> io::Result<()> {
    let share = share(lines);
    writeln!(
        to,
        "<tr><td>{name}<td><span class=\"bar\"><i style=\"width:{share}\"></i></span>\
         <td class=\"number\">{} of {}<td class=\"number\">{share}<td class=\"number\">{} of {}</tr>",
        lines.0, lines.1, functions.0, functions.1
    )
}

/// In percent; what is not all of it is not said to be.
fn share((part, all): (usize, usize)) -> String {
    let tenths = (part * 1000).checked_div(all).unwrap_or(1000);
    format!("{}.{}%", tenths / 10, tenths % 10)
}

impl File {
    /// How many functions were called, and how many there are.
    fn called(&self) -> (usize, usize) {
        (self.functions.values().filter(|it| **it).count(), self.functions.len())
    }

    fn write_source(&self, path: &Path, to: &mut dyn Write) -> io::Result<()> {
        let class = |line: u32| match self.lines.get(&line) {
            Some(true) => " class=\"hit\"",
            Some(false) => " class=\"miss\"",
            None => "",
        };
        let Some(text) = source_text(path) else {
            for line in self.lines.keys() {
                writeln!(
                    to,
                    "<div{} data-n=\"{line}\">(the source is not there)</div>",
                    class(*line)
                )?;
            }
            return writeln!(to, "</div>");
        };
        let text = String::from_utf8_lossy(&text);
        for (line, text) in (1..).zip(text.lines()) {
            let text: String = text.chars().take(WIDEST).collect();
            writeln!(to, "<div{} data-n=\"{line}\">{}</div>", class(line), escaped(&text))?;
        }
        writeln!(to, "</div>")
    }
}

/// Text that is nothing but text, in elements and in attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\t' => escaped.push('\t'),
            other => escaped.push(portcall::printable(other)),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_source_are_text_whatever_is_in_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("<script>alert(1)</script>.rs");
        std::fs::create_dir_all(path.parent().expect("has one")).expect("made");
        std::fs::write(&path, "let a = \"</div><script>alert(2)</script>\";\n\tb & c\n")
            .expect("written");
        let file = File { lines: [(1, true), (2, false)].into(), ..File::default() };
        let coverage = Coverage { files: [(path, file)].into() };
        let mut page = Vec::new();
        coverage.write_html("<b onload='x'>", &mut page).expect("written");
        let page = String::from_utf8(page).expect("text");
        assert!(!page.contains("<script") && !page.contains("<b onload"), "{page}");
        assert!(
            page.contains("<div class=\"hit\" data-n=\"1\">let a = &quot;&lt;/div&gt;"),
            "{page}"
        );
        assert!(page.contains("<div class=\"miss\" data-n=\"2\">\tb &amp; c</div>"), "{page}");
    }

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(share((9999, 10_000)), "99.9%");
        assert_eq!(share((3, 3)), "100.0%");
        assert_eq!(share((0, 7)), "0.0%");
    }
}
