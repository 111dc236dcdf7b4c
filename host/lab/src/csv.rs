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
//! Rows without samples have no lines: a table, the JSON and the page say why. A name or image that
//! begins with `=`, `+`, `-`, `@`, a tab or a carriage return has an apostrophe before it, since
//! spreadsheets would run it as a formula; take one apostrophe away to have the name as it was. One
//! that begins with an apostrophe gets another, so that this is never in doubt.

use crate::report::Report;
use std::borrow::Cow;
use std::io::{self, Write};

/// Writes all samples.
///
/// # Errors
///
/// Those of the writer.
pub fn write(report: &Report, to: impl Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(to);
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
    csv.flush()
}

fn harmless(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']) {
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
    fn a_line_a_sample() {
        let mut report = sample::report(1);
        report.rows = vec![sample::row("out8", 3, vec![vec![1.5, 2.0], vec![], vec![0.25]])];
        let wanted = "name,ring,image,round,sample,ns\nout8,3,,1,1,1.5\nout8,3,,1,2,2\n\
                      out8,3,,3,1,0.25\n";
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
        let names = ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "'x", "a,\"b\"\nc", ""];
        let mut report = sample::report(1);
        report.rows = names.map(|name| sample::row(name, 0, vec![vec![1.0]])).to_vec();
        let text = text(&report);
        assert!(text.contains("\n'=1+1,0,"), "{text}");
        assert!(text.contains("\"a,\"\"b\"\"\nc\",0"), "{text}");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        for (record, name) in reader.records().zip(names) {
            let record = record.expect("six fields");
            assert_eq!(record[0].strip_prefix('\'').unwrap_or(&record[0]), name);
            assert!(!record[0].starts_with(['=', '+', '-', '@', '\t', '\r']));
        }
    }
}
