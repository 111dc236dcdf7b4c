//! The command line that names a guest and nothing else, read without clap.
//!
//! clap makes a description of all options before it reads the first word: 140,000 instructions and
//! 15 pages of memory, 0.13 of 1.15 ms from start to exit of a small guest (400 pairs, the medians of
//! their ratios to bare C).

use crate::run::Options;
use clap::Parser;
use std::ffi::OsString;

/// Reads the words: `BINARY run IMAGE` by itself, all else by clap. `of_run` is the command that
/// `run` is.
pub(crate) fn parse<C: Parser>(
    words: impl IntoIterator<Item = OsString>,
    of_run: fn(Options) -> C,
) -> Result<C, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    match words.as_slice() {
        [_, run, image] if run == "run" && is_plain(image) => {
            Ok(of_run(Options::plain(image.into())))
        }
        _ => C::try_parse_from(words),
    }
}

/// Whether a word is no option, and no mistake.
fn is_plain(word: &OsString) -> bool {
    word.as_encoded_bytes().first().is_some_and(|first| *first != b'-')
}

#[cfg(test)]
mod tests {
    use super::{is_plain, parse};
    use crate::Stock;
    use clap::Parser;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn it_reads_what_clap_reads() {
        let odd = OsString::from_vec(vec![b'a', 0xff]);
        let images = ["guest", "a/b c", "run", "help", "=", "é", "@x", "+1", "guest="];
        for image in images.map(OsString::from).into_iter().chain([odd]) {
            assert!(is_plain(&image), "{image:?}");
            let words = || ["portcall".into(), "run".into(), image.clone()];
            let by_clap = Stock::try_parse_from(words()).expect("a command line");
            let ours = parse(words(), Stock::Run).expect("a command line");
            assert_eq!(format!("{ours:?}"), format!("{by_clap:?}"));
        }
    }

    #[test]
    fn all_else_is_claps() {
        for word in ["", "-", "--", "-h", "--help", "--quiet"] {
            assert!(!is_plain(&word.into()), "{word:?}");
        }
        for words in [&["portcall"][..], &["portcall", "run"], &["portcall", "walk", "guest"]] {
            let words = words.iter().map(OsString::from);
            let error = parse(words, Stock::Run).expect_err("no command line");
            assert!(error.use_stderr());
        }
        let quiet = ["portcall", "run", "--quiet", "guest"].map(OsString::from);
        let quiet = parse(quiet, Stock::Run).expect("a command line");
        assert!(format!("{quiet:?}").contains("quiet: true"));
    }
}
