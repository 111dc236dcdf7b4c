//! Texts that a guest or a file chose, as a reader may have them.

use unicode_width::UnicodeWidthStr;

/// How long a name may be where there is room for it, in columns of a terminal.
pub(crate) const NAME: usize = 48;
/// How long a sentence may be.
pub(crate) const SENTENCE: usize = 400;

/// At most `limit` columns of the text, on one line. What has no shape of its own, or turns, joins
/// or marks what stands beside it, is shown by its number: controls, turns of direction, accents.
/// That nothing is there is said as well.
pub(crate) fn shown(text: &str, limit: usize) -> String {
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

/// The standard library knows which characters print; quotes and backslashes do as well.
fn visible(c: char) -> String {
    let plain = c.escape_debug().len() == 1 || matches!(c, '\'' | '"' | '\\');
    if plain { c.to_string() } else { c.escape_debug().to_string() }
}

/// A count with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Names, the first few of them.
pub(crate) fn list(names: &[String]) -> String {
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
    fn a_long_list_is_counted() {
        let names: Vec<String> = (0..10).map(|it| it.to_string()).collect();
        assert_eq!(list(&names[..2]), "0, 1");
        assert_eq!(list(&names), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!((count(1, "row"), count(2, "row")), ("1 row".to_owned(), "2 rows".to_owned()));
    }
}
