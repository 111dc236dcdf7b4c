//! Dead links in Markdown, without a network: files must exist, anchors must be headings, and
//! addresses must have their form.

use crate::directives::hex_byte;
use pulldown_cmark::{BrokenLink, Event, LinkType, Options, Parser, Tag, TagEnd};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What a page offers and asks for.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Anchors that a link can name.
    anchors: BTreeSet<String>,
    /// Destinations of links and images, and the lines they stand in.
    links: Vec<(usize, String)>,
    /// References without a definition.
    undefined: Vec<(usize, String)>,
}

/// A repository's files.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// All files, their paths separated by `/` and relative to the root.
    pub(crate) files: BTreeSet<String>,
    /// Those of them that are Markdown.
    pub(crate) pages: BTreeMap<String, Page>,
}

impl Page {
    /// Reads a page.
    pub(crate) fn read(text: &str) -> Self {
        let line_of = |at: usize| text[..at].matches('\n').count() + 1;
        let undefined = RefCell::new(Vec::new());
        let note = |link: BrokenLink| {
            // `[word]` alone is ordinary text.
            if matches!(link.link_type, LinkType::Reference | LinkType::Collapsed) {
                undefined.borrow_mut().push((line_of(link.span.start), link.reference.to_string()));
            }
            None
        };
        let mut page = Self::default();
        let mut slugs = Slugs::default();
        let mut heading: Option<String> = None;
        let parser = Parser::new_with_broken_link_callback(
            text,
            Options::ENABLE_GFM | EXTENSIONS,
            Some(note),
        );
        for (event, range) in parser.into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchors.extend(heading.take().map(|title| slugs.next(&title)));
                }
                Event::Text(piece) | Event::Code(piece) => {
                    if let Some(title) = &mut heading {
                        title.push_str(&piece);
                    }
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    page.anchors.extend(html_anchors(&html));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line_of(range.start), dest_url.to_string()));
                }
                _ => {}
            }
        }
        page.undefined = undefined.into_inner();
        page
    }
}

/// What GitHub reads beyond CommonMark.
const EXTENSIONS: Options = Options::ENABLE_TABLES
    .union(Options::ENABLE_FOOTNOTES)
    .union(Options::ENABLE_STRIKETHROUGH)
    .union(Options::ENABLE_TASKLISTS);

/// GitHub's names for a page's headings.
#[derive(Default)]
struct Slugs(BTreeMap<String, usize>);

impl Slugs {
    /// The next heading's: a second one of the same name gets `-1`.
    fn next(&mut self, title: &str) -> String {
        let base = slug(title);
        let mut name = base.clone();
        while self.0.contains_key(&name) {
            let count = self.0.entry(base.clone()).or_default();
            *count += 1;
            name = format!("{base}-{count}");
        }
        self.0.insert(name.clone(), 0);
        name
    }
}

/// A heading in small letters, with `-` for blanks, without punctuation.
fn slug(title: &str) -> String {
    let kept = title.trim().chars().filter_map(|it| match it {
        ' ' => Some('-'),
        '-' | '_' => Some(it),
        _ => it.is_alphanumeric().then_some(it),
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// The values of `id="..."` and `name="..."`.
fn html_anchors(html: &str) -> Vec<String> {
    let after = |key| html.split(key).skip(1).filter_map(|it: &str| it.split('"').next());
    after(" id=\"").chain(after(" name=\"")).map(str::to_owned).collect()
}

impl Tree {
    /// All dead links: `FILE:LINE: what is wrong`.
    pub(crate) fn dead_links(&self) -> Vec<String> {
        let mut dead = Vec::new();
        for (file, page) in &self.pages {
            for (line, reference) in &page.undefined {
                dead.push(format!("{file}:{line}: [{reference}] is defined nowhere on the page"));
            }
            for (line, destination) in &page.links {
                if let Err(why) = self.check(file, destination) {
                    dead.push(format!("{file}:{line}: {destination}: {why}"));
                }
            }
        }
        dead
    }

    /// Whether a link leads somewhere from a page.
    fn check(&self, page: &str, destination: &str) -> Result<(), String> {
        if let Some((scheme, rest)) = destination.split_once(':')
            && scheme.starts_with(|it: char| it.is_ascii_alphabetic())
            && scheme.chars().all(|it| it.is_ascii_alphanumeric() || "+-.".contains(it))
        {
            return check_address(scheme, rest);
        }
        let (path, anchor) = match destination.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor)),
            None => (destination, None),
        };
        let path = path.split('?').next().unwrap_or("");
        let file = if path.is_empty() && anchor.is_some() {
            page.to_owned()
        } else {
            resolve(page, &unquote(path)?).ok_or("it leads out of the repository")?
        };
        let directory = if file.is_empty() { String::new() } else { format!("{file}/") };
        let is_file = self.files.contains(&file);
        if path.is_empty() && anchor.is_none() {
            return Err("an empty link".to_owned());
        }
        if !is_file && !self.files.iter().any(|it| it.starts_with(&directory)) {
            return Err(format!("there is no {file} in the repository"));
        }
        match anchor {
            Some(anchor) if is_file => self.check_anchor(&file, &unquote(anchor)?),
            Some(_) => Err(format!("{file} is a directory and has no anchors")),
            None => Ok(()),
        }
    }

    /// Whether a file has a heading, or can have a line, of a name.
    fn check_anchor(&self, file: &str, anchor: &str) -> Result<(), String> {
        match self.pages.get(file) {
            Some(page) if page.anchors.contains(anchor) => Ok(()),
            Some(_) => Err(format!("{file} has no heading #{anchor}")),
            None if is_lines(anchor) => Ok(()),
            None => Err(format!("{file} is no Markdown; #L10 and #L10-L20 name its lines")),
        }
    }
}

/// `L10` or `L10-L20`.
fn is_lines(anchor: &str) -> bool {
    anchor.split('-').count() <= 2
        && anchor.split('-').all(|it| {
            it.strip_prefix('L').is_some_and(|it| it.parse::<u32>().is_ok_and(|it| it > 0))
        })
}

/// Whether an address has the form of its scheme.
fn check_address(scheme: &str, rest: &str) -> Result<(), String> {
    match scheme {
        "http" | "https" => {
            let host = rest.strip_prefix("//").ok_or("write // behind the colon")?;
            let host = host.split(['/', '?', '#']).next().unwrap_or("");
            let of_a_host = |it: char| it.is_ascii_alphanumeric() || ".-:[]".contains(it);
            if !host.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '[')
                || !host.chars().all(of_a_host)
            {
                return Err(format!("`{host}` is no host's name"));
            }
            let bad = rest.chars().find(|it| it.is_whitespace() || "<>\"{}|\\^`".contains(*it));
            bad.map_or(Ok(()), |it| Err(format!("`{it}` cannot stand in an address")))
        }
        "mailto" if rest.contains('@') => Ok(()),
        "mailto" => Err("no mail address".to_owned()),
        _ => Err(format!("links here are relative, https: or mailto:, not {scheme}:")),
    }
}

/// A link's path from the repository's root; none if it leads out of it.
fn resolve(page: &str, path: &str) -> Option<String> {
    // A leading slash is the repository's root to GitHub.
    let (base, path) = match path.strip_prefix('/') {
        Some(path) => ("", path),
        None => (page.rsplit_once('/').map_or("", |(directory, _)| directory), path),
    };
    let mut parts: Vec<&str> = base.split('/').filter(|it| !it.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A text without its `%20`s.
fn unquote(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = tail.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let value = digits.and_then(hex_byte);
        bytes.push(value.ok_or("a `%` without two hex digits; write %25 for one")?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| "its %-escapes are not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let pages = files.iter().filter(|(name, _)| name.ends_with(".md"));
        Tree {
            files: files.iter().map(|(name, _)| (*name).to_owned()).collect(),
            pages: pages.map(|(name, text)| ((*name).to_owned(), Page::read(text))).collect(),
        }
    }

    #[test]
    fn slugs_are_githubs() {
        assert_eq!(slug("The contract (guest/abi)"), "the-contract-guestabi");
        assert_eq!(slug("What's `Vm::step() -> Stop`?"), "whats-vmstep---stop");
        assert_eq!(slug("3. A_b, c – d & é"), "3-a_b-c--d--é");
    }

    #[test]
    fn repeated_headings_are_numbered() {
        let page = Page::read("# A\n\n## A\n\n# A 1\n\nA\n=\n\n<a id=\"here\"></a>\n");
        let anchors: Vec<_> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["a", "a-1", "a-1-1", "a-2", "here"]);
    }

    #[test]
    fn living_links_pass() {
        let tree = tree(&[
            (
                "README.md",
                "# Top *title* `x`\n[a](docs/a.md) [b](docs/a.md#one) [c](docs) [d](docs/) \
                 [e](#top-title-x) [f](/src/a%20b.rs#L3-L5) [g](https://a.org/x_(y)?q#z) \
                 <https://a.org> [h][ref] [i] [ ] `[no](link)` [m](mailto:a@b.c) [.](.)\n\n\
                 ```\n[no](link)\n```\n\n[ref]: docs/a.md \"title\"\n",
            ),
            ("docs/a.md", "One\n===\n![p](../src/a%20b.rs) [up](../README.md)\n"),
            ("src/a b.rs", ""),
        ]);
        assert_eq!(tree.dead_links(), Vec::<String>::new());
    }

    #[test]
    fn dead_links_are_listed_with_their_lines() {
        let tree = tree(&[
            (
                "docs/a.md",
                "# One\n[a](b.md)\n[b](#two)\n[c](../x.rs#two)\n[d](../../out)\n[e](http:/x)\n\
                 [f](https://)\n[g](ftp://x)\n[h]()\n[i][none]\n[j](../docs#one)\n[k](a%2.md)\n\
                 ![l](pic.png)\n[m](A.md)\n[n](https://a b)\n",
            ),
            ("x.rs", ""),
        ]);
        let dead = tree.dead_links();
        let has = |start: &str| assert!(dead.iter().any(|it| it.starts_with(start)), "{start}");
        has("docs/a.md:2: b.md: there is no docs/b.md");
        has("docs/a.md:3: #two: docs/a.md has no heading #two");
        has("docs/a.md:4: ../x.rs#two: x.rs is no Markdown");
        has("docs/a.md:5: ../../out: it leads out");
        has("docs/a.md:6: http:/x: write //");
        has("docs/a.md:7: https://: `` is no host");
        has("docs/a.md:8: ftp://x: links here are");
        has("docs/a.md:9: : an empty link");
        has("docs/a.md:10: [none] is defined nowhere");
        has("docs/a.md:11: ../docs#one: docs is a directory");
        has("docs/a.md:12: a%2.md: a `%` without");
        has("docs/a.md:13: pic.png: there is no docs/pic.png");
        has("docs/a.md:14: A.md: there is no docs/A.md");
        // Line 15 is no link at all: a destination has no blanks.
        assert_eq!(dead.len(), 13, "{dead:#?}");
    }

    #[test]
    fn line_anchors_have_a_form() {
        for (anchor, is) in
            [("L1", true), ("L1-L20", true), ("L0", false), ("1", false), ("L1-L2-L3", false)]
        {
            assert_eq!(is_lines(anchor), is, "{anchor}");
        }
    }
}
