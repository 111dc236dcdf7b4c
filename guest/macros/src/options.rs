//! What stands in an attribute's parentheses.

use proc_macro2::TokenStream;
use std::time::Duration;
use syn::parse::Parser;
use syn::{Error, LitStr, meta};

/// Those of `#[guest::test(...)]`.
#[derive(Default)]
pub(crate) struct Options {
    /// `timeout = "2s"`.
    pub(crate) timeout: Option<Duration>,
}

impl Options {
    /// Reads them.
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self, Error> {
        let mut options = Self::default();
        let parser = meta::parser(|it| {
            if !it.path.is_ident("timeout") {
                return Err(it.error("there is only `timeout = \"2s\"`"));
            }
            if options.timeout.is_some() {
                return Err(it.error("`timeout` is there twice"));
            }
            let text: LitStr = it.value()?.parse()?;
            let time = time(&text.value());
            let wrong = || Error::new(text.span(), "a time is a number and ms, s or m: \"2s\"");
            options.timeout = Some(time.ok_or_else(wrong)?);
            Ok(())
        });
        parser.parse2(tokens)?;
        Ok(options)
    }
}

/// A time that is none is no bound, and one of a year is a slip.
fn time(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|it: char| it.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let millis = match unit {
        "ms" => number,
        "s" => number.checked_mul(1000)?,
        "m" => number.checked_mul(60_000)?,
        _ => return None,
    };
    (1..=31_536_000_000).contains(&millis).then_some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::time;
    use std::time::Duration;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!(time("2s"), Some(Duration::from_secs(2)));
        assert_eq!(time("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(time("10m"), Some(Duration::from_secs(600)));
        for text in
            ["", "s", "2", "2 s", "-1s", "0s", "1.5s", "2h", "99999999999999999999s", "9999999m"]
        {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
