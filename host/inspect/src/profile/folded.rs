//! From addresses to names: folded stacks, and the flame graph that inferno makes of them.

use super::{Origin, Profile, Stack};
use crate::render::printable;
use crate::symbols::Symbols;
use inferno::flamegraph::{self, Options};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

/// The frame of the host, where it answers what the guest asked.
pub const HOST: &str = "[host]";

/// The frames of what is not known.
const UNKNOWN: &str = "[unknown]";
const DEEPER: &str = "[deeper calls]";
const OTHERS: &str = "[other stacks]";
const STUBS: &str = "[the host's exception stubs]";

/// The same picture for who wants dark pages. Frames keep their colours, and dark letters on them.
const DARK: &str = "\
:root { color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
:root { background: #16181c; }
#background stop { stop-color: #16181c; }
#plain { fill: #16181c; }
#title, #subtitle, #details, #matched, #search, #unzoom { fill: #e8e8e8; }
#search { opacity: 0.4; }
#frames rect { opacity: 0.88; }
}
";

/// What stands in a flame graph without a sample.
const NOTHING: &str = "no samples: the guest ended before the first was due";

impl Profile {
    /// Stacks and their microseconds, outermost function first, `;` between two: what tools for flame
    /// graphs read. In the order of their names.
    #[must_use]
    pub fn folded(&self, symbols: &Symbols<'_>) -> BTreeMap<String, u64> {
        let mut names = Names { profile: self, symbols, known: HashMap::new() };
        let mut lines = BTreeMap::new();
        for (stack, weight) in &self.stacks {
            let micros = u64::try_from(weight.time.as_micros()).unwrap_or(u64::MAX);
            *lines.entry(names.line(stack)).or_insert(0) += micros;
        }
        if self.others.samples > 0 {
            let micros = u64::try_from(self.others.time.as_micros()).unwrap_or(u64::MAX);
            lines.insert(OTHERS.to_owned(), micros);
        }
        lines
    }

    /// Writes them as text, a stack a line; nothing where there was no sample.
    ///
    /// # Errors
    /// What is written to fails.
    pub fn write_folded(&self, symbols: &Symbols<'_>, to: &mut dyn Write) -> io::Result<()> {
        self.folded(symbols).iter().try_for_each(|(stack, micros)| writeln!(to, "{stack} {micros}"))
    }

    /// Writes a flame graph as SVG, `title` above it. Names are escaped, whatever is in them.
    ///
    /// # Errors
    /// What is written to fails.
    pub fn write_svg(
        &self,
        title: &str,
        symbols: &Symbols<'_>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let mut options = Options::default();
        options.title = printable(title);
        let lines = self.folded(symbols);
        // A stack that took no whole microsecond has no width.
        if lines.values().all(|micros| *micros == 0) {
            return write_nothing(&options.title, to);
        }
        let (samples, time) = (self.samples(), self.time());
        options.subtitle = Some(format!("{samples} samples of {:.3} s", time.as_secs_f64()));
        options.count_name = "\u{b5}s".to_owned();
        options.name_type = "Function:".to_owned();
        // The same picture of the same samples.
        options.hash = true;
        options.deterministic = true;
        // An SVG in a page has the font of whoever looks at it.
        options.font_type = "monospace".to_owned();
        let lines: Vec<_> =
            lines.iter().map(|(stack, micros)| format!("{stack} {micros}")).collect();
        let mut svg = Vec::new();
        flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
        // Behind inferno's own rules. Its sheet is the first; no name is written before it.
        let sheet = svg.windows(STYLE_END.len()).position(|it| it == STYLE_END).unwrap_or(0);
        let (head, rest) = svg.split_at(sheet);
        to.write_all(head)?;
        if sheet > 0 {
            to.write_all(DARK.as_bytes())?;
        }
        to.write_all(rest)
    }
}

/// Where a sheet of style ends.
const STYLE_END: &[u8] = b"</style>";

/// A picture that says that there is none.
fn write_nothing(title: &str, to: &mut dyn Write) -> io::Result<()> {
    let title = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(
        to,
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"70\" \
         font-family=\"monospace\" text-anchor=\"middle\">\n\
         <style>{DARK}</style>\n\
         <rect id=\"plain\" width=\"100%\" height=\"100%\" fill=\"#eeeeb0\"/>\n\
         <text id=\"title\" x=\"600\" y=\"26\" font-size=\"17\">{title}</text>\n\
         <text id=\"subtitle\" x=\"600\" y=\"52\" font-size=\"12\">{NOTHING}</text>\n</svg>"
    )
}

/// Names of addresses, each looked up once.
struct Names<'p, 's, 'a> {
    profile: &'p Profile,
    symbols: &'s Symbols<'a>,
    /// By the address, and whether it is returned to: outermost first.
    known: HashMap<(u64, bool), Vec<String>>,
}

impl Names<'_, '_, '_> {
    fn line(&mut self, stack: &Stack) -> String {
        let mut line = match stack.origin {
            Origin::Deep => vec![DEEPER.to_owned()],
            Origin::Lost if !self.is_from_entry(stack) => vec![UNKNOWN.to_owned()],
            _ => Vec::new(),
        };
        for (i, address) in stack.addresses.iter().enumerate().rev() {
            // One that is nowhere has said so already.
            let names = self.names(*address, i > 0);
            if line.last().is_none_or(|last| last != UNKNOWN || names != [UNKNOWN]) {
                line.extend_from_slice(names);
            }
        }
        if stack.in_host {
            line.push(HOST.to_owned());
        }
        line.join(";")
    }

    /// Whether the outermost function is the one that the guest begins with.
    fn is_from_entry(&self, stack: &Stack) -> bool {
        let start = |address: u64| {
            let (_, into) = self.symbols.symbol_at(address)?;
            address.checked_sub(into)
        };
        let outermost = stack.addresses.last().map(|it| it - u64::from(stack.addresses.len() > 1));
        outermost.and_then(start).is_some_and(|it| Some(it) == start(self.profile.entry))
    }

    fn names(&mut self, address: u64, call: bool) -> &[String] {
        let (profile, symbols) = (self.profile, self.symbols);
        self.known.entry((address, call)).or_insert_with(|| {
            let frames = symbols.frames(address, call);
            let named = frames.into_iter().rev().map(|frame| frame.function);
            let unnamed = || {
                if profile.stubs.contains(&address) {
                    return STUBS.to_owned();
                }
                let section = symbols.section_at(address);
                section
                    .map_or_else(|| UNKNOWN.to_owned(), |it| plain(&format!("{address:#x} {it}")))
            };
            named.map(|name| name.map_or_else(unnamed, |name| plain(&name))).collect()
        })
    }
}

/// A name that neither ends its frame nor its line.
fn plain(name: &str) -> String {
    printable(name).replace(';', ":").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_name_stays_in_its_frame() {
        assert_eq!(plain("<[u8; 4] as From>::from"), "<[u8: 4] as From>::from");
        assert!(!plain("a\nb;c 12\nd").contains(['\n', ';']));
    }
}
