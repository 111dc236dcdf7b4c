//! Texts that a guest or a file chose, as a reader may have them.

use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// How long a name may be where there is room for it, in columns of a terminal.
pub const NAME: usize = 48;
/// How long a sentence may be.
pub const SENTENCE: usize = 400;

/// At most `limit` columns of the text, on one line. What has no shape of its own, or turns, joins
/// or marks what stands beside it, is shown by its number: controls, turns of direction, accents.
/// That nothing is there is said as well.
#[must_use]
pub fn shown(text: &str, limit: usize) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let mut cut = String::new();
    let mut width = 0;
    let mut rest = text.chars();
    for c in rest.by_ref() {
        let piece = visible(c);
        width += piece.width();
        cut.push_str(&piece);
        if width > limit {
            break;
        }
    }
    if width <= limit && rest.next().is_none() {
        return cut;
    }
    // A column is for the sign that there was more.
    while cut.width() >= limit && cut.pop().is_some() {}
    cut.push('\u{2026}');
    cut
}

/// Some lines of the text, each as [`shown`], and how many more there are.
#[must_use]
pub fn lines(text: &str, most: usize, limit: usize) -> (Vec<String>, usize) {
    let of = |line: &str| if line.is_empty() { String::new() } else { shown(line, limit) };
    let kept: Vec<_> = text.lines().take(most).map(of).collect();
    let more = text.lines().count() - kept.len();
    (kept, more)
}

/// Bytes as text with its lines and tabs, all else that is not seen by its number, and what is no
/// UTF-8 by its bytes.
#[must_use]
pub fn bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => text.push(c),
                c => text.push_str(&visible(c)),
            }
        }
        // Writing to a String does not fail.
        chunk.invalid().iter().for_each(|byte| _ = write!(text, "\\x{byte:02x}"));
    }
    text
}

/// Letters and signs with nothing to see in them: Hangul fillers, the braille pattern without dots.
const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// The standard library knows which characters print; quotes and backslashes do as well.
fn visible(c: char) -> String {
    if BLANK.contains(&c) {
        return c.escape_unicode().to_string();
    }
    let plain = c.escape_debug().len() == 1 || matches!(c, '\'' | '"' | '\\');
    if plain { c.to_string() } else { c.escape_debug().to_string() }
}

/// A count with its noun.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Names, the first few of them.
#[must_use]
pub fn list(names: &[String]) -> String {
    const MOST: usize = 8;
    let mut text = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_could_not_see_is_shown_by_its_number() {
        let text = "a\0\x1b[2J\u{202e}\u{200b}e\u{301}\n\"<b>'\\ \u{fc}\u{5d0}";
        let wanted = "a\\0\\u{1b}[2J\\u{202e}\\u{200b}e\\u{301}\\n\"<b>'\\ \u{fc}\u{5d0}";
        assert_eq!(shown(text, 100), wanted);
        assert_eq!(shown("", 10), "(empty)");
        for blank in BLANK {
            assert_eq!(shown(&blank.to_string(), 10), blank.escape_unicode().to_string());
        }
    }

    #[test]
    fn a_text_is_cut_to_columns_and_says_so() {
        assert_eq!(shown("abcdef", 6), "abcdef");
        assert_eq!(shown("abcdefg", 6), "abcde\u{2026}");
        // Two columns each.
        assert_eq!(shown("\u{6f22}\u{6f22}\u{6f22}", 5), "\u{6f22}\u{6f22}\u{2026}");
        assert_eq!(shown(&"x".repeat(100_000), 48).width(), 48);
        assert_eq!(shown("\0\0\0", 4), "\\0\\\u{2026}");
    }

    #[test]
    fn lines_are_cut_and_counted_and_bytes_are_seen() {
        assert_eq!(
            lines("a\x1b\n\nb\nc", 3, 9),
            (vec!["a\\u{1b}".into(), "".into(), "b".into()], 1)
        );
        assert_eq!(bytes(b"a\tb\n\r\xff<\xe2\x80\xae"), "a\tb\n\\r\\xff<\\u{202e}");
    }

    #[test]
    fn a_long_list_is_counted() {
        let names: Vec<String> = (0..10).map(|it| it.to_string()).collect();
        assert_eq!(list(&names[..2]), "0, 1");
        assert_eq!(list(&names), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!((count(1, "row"), count(2, "row")), ("1 row".to_owned(), "2 rows".to_owned()));
    }
}
