//! Texts of a guest's, as a terminal may have them: a panic message or a name could otherwise turn
//! a host's words round, paint them, or write others in their place.

use std::fmt;

/// What further lines begin with, so that none looks like one of the host's.
const INDENT: &str = "\n       ";

/// The character, or its replacement if a terminal would obey it: control characters and those of
/// Unicode's property `Bidi_Control`.
#[must_use]
pub fn printable(c: char) -> char {
    let marks = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}');
    let turns = marks || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns { char::REPLACEMENT_CHARACTER } else { c }
}

/// Shows a text so.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| match c {
            '\n' => f.write_str(INDENT),
            c => f.write_char(printable(c)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Printable;
    use crate::error::InterfaceError;

    #[test]
    fn what_a_terminal_would_obey_is_replaced_and_further_lines_are_set_in() {
        let text = "a\x1b[2J\r\u{7f}\u{9b}\u{202e}\u{2066}\u{200f}\u{61c} ü\nportcall: well";
        let shown =
            format!("a?[2J{} ü\n       portcall: well", "?".repeat(7)).replace('?', "\u{fffd}");
        assert_eq!(Printable(text).to_string(), shown);
    }

    #[test]
    fn an_error_with_an_images_words_is_shown_so() {
        let (interface, differences) = ("Store".to_owned(), "\x1b[2J".to_owned());
        let text = InterfaceError::Differs { interface, differences }.to_string();
        assert!(text.contains("differently: \u{fffd}[2J. Build"), "{text:?}");
    }
}
