//! Raw samples, one a line, for other programs: RFC 4180, with a head.
//!
//! | column | |
//! | --- | --- |
//! | `name` | the row's |
//! | `ring` | 0 or 3 |
//! | `image` | the file that the row is from; empty for a built-in row |
//! | `round` | from 1 |
//! | `sample` | from 1 in each round, in the order they were taken |
//! | `ns` | nanoseconds an operation, the timer's own cost subtracted |
//!
//! Rows without samples have no lines: a table, the JSON and the page say why. All texts stand in quotes,
//! since a spreadsheet may split lines at `;` or at tabs. A name or image that begins with `=`, `+`, `-` or
//! `@`, or the same of full width, or with white space or a character that has no width, has an apostrophe
//! before it, since spreadsheets would run it as a formula, or look behind the space for one; take one
//! apostrophe away to have the name as it was. One that begins with an apostrophe gets another, so that
//! this is never in doubt.

use crate::report::Report;
use csv::QuoteStyle;
use std::borrow::Cow;
use std::io::{self, Write};
use unicode_width::UnicodeWidthChar;

/// Writes all samples.
///
/// # Errors
///
/// Those of the writer.
pub fn write(report: &Report, to: impl Write) -> io::Result<()> {
    lines(report, to).map_err(|error| match error.into_kind() {
        // As it is: a reader that went away is no failure.
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    })
}

fn lines(report: &Report, to: impl Write) -> csv::Result<()> {
    let mut csv = csv::WriterBuilder::new().quote_style(QuoteStyle::NonNumeric).from_writer(to);
    csv.write_record(["name", "ring", "image", "round", "sample", "ns"])?;
    for row in &report.rows {
        let Some(measured) = row.measured() else { continue };
        let (name, ring) = (harmless(&row.name), row.ring.to_string());
        let image = harmless(row.image.as_deref().unwrap_or_default());
        for (round, samples) in (1_usize..).zip(&measured.rounds) {
            let round = round.to_string();
            for (number, sample) in (1_usize..).zip(samples) {
                let (number, sample) = (number.to_string(), sample.to_string());
                csv.write_record([&*name, &ring, &*image, &round, &number, &sample])?;
            }
        }
    }
    csv.flush()?;
    Ok(())
}

fn harmless(text: &str) -> Cow<'_, str> {
    const GUARDED: [char; 9] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\''];
    // Control characters have no width either.
    let is_unseen = |it: char| it.is_whitespace() || it.width().unwrap_or(0) == 0;
    if text.starts_with(|it: char| is_unseen(it) || GUARDED.contains(&it)) {
        format!("'{text}").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn text(report: &Report) -> String {
        let mut text = Vec::new();
        write(report, &mut text).expect("a Vec takes everything");
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn a_reader_that_went_away_is_told_as_such() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = write(&sample::report(1), Gone).expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_line_a_sample() {
        let mut report = sample::report(1);
        report.rows = vec![sample::row("out8", 3, vec![vec![1.5, 2.0], vec![], vec![0.25]])];
        let wanted = "\"name\",\"ring\",\"image\",\"round\",\"sample\",\"ns\"\n\
                      \"out8\",3,\"\",1,1,1.5\n\"out8\",3,\"\",1,2,2\n\"out8\",3,\"\",3,1,0.25\n";
        assert_eq!(text(&report), wanted);
    }

    #[test]
    fn all_samples_are_there_and_rows_without_any_are_not() {
        let report = sample::report(1);
        let samples: usize =
            report.rows.iter().filter_map(|it| it.measured()).map(|it| it.samples().len()).sum();
        assert_eq!(text(&report).lines().count(), samples + 1);
        assert!(!text(&report).contains("vmcall"));
    }

    #[test]
    fn names_are_quoted_and_no_formulas() {
        let harmful = [
            "=1+1",
            "+x",
            "-x",
            "@x",
            "\tx",
            "\rx",
            "'x",
            " =1",
            "  +x",
            "\n=1",
            "\r\n=1",
            "\u{a0}=1",
            "\u{3000}=1",
            "\u{0}=1",
            "＝1",
            "＋x",
            "－x",
            "＠x",
            "\u{200b}=1",
            "\u{feff}=1",
            "\u{2060}+x",
            "\u{ad}=1",
            "\u{202e}=1",
            "\u{200d}@x",
        ];
        let names = [&harmful[..], &["a,\"b\"\nc", "a=1", "", "a;=1+1"]].concat();
        let mut report = sample::report(1);
        report.rows = names.iter().map(|name| sample::row(name, 0, vec![vec![1.0]])).collect();
        let text = text(&report);
        assert!(text.contains("\n\"'=1+1\",0,"), "{text}");
        assert!(text.contains("\"a,\"\"b\"\"\nc\",0"), "{text}");
        assert!(text.contains("\n\"a;=1+1\",0"), "{text}");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let records: Vec<_> = reader.records().map(|it| it.expect("six fields")).collect();
        assert_eq!(records.len(), names.len());
        for (record, name) in records.iter().zip(names) {
            let guard = if harmful.contains(&name) { "'" } else { "" };
            assert_eq!(record[0], format!("{guard}{name}"));
        }
    }
}
