//! What a grading comes to: lines while it goes on, a table with the sum at its end, JSON.

use crate::{BAD, Failure, GOOD};
use serde_json::json;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The longest explanation that is kept of a failure, in bytes: a compiler can say a lot.
const MESSAGE_MAX: usize = 20_000;

/// Where JSON goes, if anywhere.
#[derive(Debug, PartialEq)]
pub(crate) enum Emit {
    /// It was not asked for.
    Nothing,
    /// To stdout; the text for people goes to stderr then.
    Stdout,
    /// To that file.
    File(PathBuf),
}

impl Emit {
    /// Reads `--emit`'s values.
    pub(crate) fn parse(values: &[String]) -> Result<Self, Failure> {
        match values {
            [] => Ok(Self::Nothing),
            [one] => match one.split_once('=') {
                None if one == "json" => Ok(Self::Stdout),
                Some(("json", "-")) => Ok(Self::Stdout),
                Some(("json", file)) if !file.is_empty() => Ok(Self::File(file.into())),
                _ => Err(Failure(format!("--emit {one}: write --emit json or --emit json=FILE"))),
            },
            _ => Err(Failure::new("--emit is said twice; one is enough")),
        }
    }
}

/// An exercise's result.
pub(crate) struct Graded {
    /// Its file's name, as it can be shown.
    pub(crate) file: String,
    pub(crate) title: String,
    /// What it is worth.
    pub(crate) of: u32,
    /// Something to know though it decides nothing; empty if there is nothing.
    pub(crate) note: &'static str,
    /// Why it failed, if it did.
    how: Option<String>,
}

impl Graded {
    /// Without a result yet; worth one point as long as nothing is known of it.
    pub(crate) fn new(file: &OsStr) -> Self {
        let file = visible(&file.to_string_lossy()).replace('\n', "\\n");
        Self { file, title: String::new(), of: 1, note: "", how: None }
    }

    /// It has passed.
    pub(crate) fn passed(self) -> Self {
        Self { how: None, ..self }
    }

    /// It has failed, for that reason.
    pub(crate) fn failed(self, how: impl Into<String>) -> Self {
        let mut how: String = how.into();
        if how.len() > MESSAGE_MAX {
            let at = (0..=MESSAGE_MAX).rev().find(|it| how.is_char_boundary(*it)).unwrap_or(0);
            how.truncate(at);
            how += "\n... (the rest is left out)";
        }
        Self { how: Some(visible(&how)), ..self }
    }

    fn points(&self) -> u32 {
        if self.how.is_none() { self.of } else { 0 }
    }
}

/// A text in which nothing takes a terminal over.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && !matches!(char, '\n' | '\t') {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// All results so far.
pub(crate) struct Score {
    exercise: String,
    submission: Option<String>,
    emit: Emit,
    all: Vec<Graded>,
}

impl Score {
    /// None yet.
    pub(crate) fn new(folder: &Path, submission: Option<&Path>, emit: Emit) -> Self {
        let shown = |path: &Path| visible(&path.to_string_lossy()).replace('\n', "\\n");
        let score = Self {
            exercise: shown(folder),
            submission: submission.map(shown),
            emit,
            all: Vec::new(),
        };
        let by = score.submission.as_ref().map_or(String::new(), |it| format!(", solved by {it}"));
        score.say(&format!("grading {}{by}", score.exercise));
        score
    }

    fn say(&self, text: &str) {
        if self.emit == Emit::Stdout {
            crate::err!("{text}");
        } else {
            crate::out!("{text}");
        }
    }

    /// One more.
    pub(crate) fn take(&mut self, graded: Graded) {
        let file = &graded.file;
        let note =
            if graded.note.is_empty() { String::new() } else { format!(", {}", graded.note) };
        match &graded.how {
            None => self.say(&format!("test {file} ... {GOOD}ok{GOOD:#}{note}")),
            Some(_) => self.say(&format!("test {file} ... {BAD}FAILED{BAD:#}{note}")),
        }
        self.all.push(graded);
    }

    fn sums(&self) -> (u32, u32) {
        let sum =
            |points: fn(&Graded) -> u32| self.all.iter().map(points).fold(0, u32::saturating_add);
        (sum(Graded::points), sum(|it| it.of))
    }

    /// Says why what failed did, the table and the sum; success if all have passed.
    pub(crate) fn conclude(self) -> Result<ExitCode, Failure> {
        for graded in &self.all {
            if let Some(how) = &graded.how {
                let title = if graded.title.is_empty() { "" } else { ": " };
                let head = format!("{}{title}{}", graded.file, graded.title);
                self.say(&format!("\n---- {head} ----\n{}", how.trim_end()));
            }
        }
        self.say(&format!("\n{}", self.table().trim_end()));
        match &self.emit {
            Emit::Nothing => {}
            Emit::Stdout => crate::out!("{}", self.json()),
            Emit::File(file) => std::fs::write(file, self.json() + "\n")
                .map_err(|error| Failure::file("write", file, error))?,
        }
        let all = self.all.iter().all(|it| it.how.is_none());
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn table(&self) -> String {
        let wide = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let width = wide(&mut self.all.iter().map(|it| it.file.chars().count())).max(8);
        let mut table = format!(" {:width$}  points  title\n", "exercise");
        for graded in &self.all {
            let points = format!("{}/{}", graded.points(), graded.of);
            // Writing to a String does not fail, here and below.
            let line = format!(" {:width$}  {points:>6}  {}", graded.file, graded.title);
            let _ = writeln!(table, "{}", line.trim_end());
        }
        let (points, of) = self.sums();
        let _ = writeln!(table, "score: {points} of {of} points");
        table
    }

    /// One object.
    fn json(&self) -> String {
        let (points, of) = self.sums();
        let exercises = self.all.iter().map(|it| {
            json!({
                "file": it.file,
                "title": it.title,
                "points": it.points(),
                "of": it.of,
                "passed": it.how.is_none(),
                "note": it.note,
                "message": it.how.as_deref().unwrap_or(""),
            })
        });
        let report = json!({
            "exercise": self.exercise,
            "submission": self.submission,
            "points": points,
            "of": of,
            "passed": self.all.iter().all(|it| it.how.is_none()),
            "exercises": exercises.collect::<Vec<_>>(),
        });
        format!("{report:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(all: Vec<Graded>) -> Score {
        Score { exercise: "e".to_owned(), submission: None, emit: Emit::Nothing, all }
    }

    #[test]
    fn points_are_summed_and_nothing_takes_the_terminal() {
        let mut passed = Graded::new(OsStr::new("a.rs")).passed();
        passed.of = 3;
        let failed = Graded::new(OsStr::new("\u{1b}[2J\n.c")).failed("\u{7}no\n\tat all");
        let score = score(vec![passed, failed]);
        assert_eq!(score.sums(), (3, 4));
        let table = score.table();
        assert!(table.contains(" a.rs              3/3"), "{table}");
        assert!(table.contains(" \\u{1b}[2J\\n.c     0/1"), "{table}");
        assert!(table.ends_with("score: 3 of 4 points\n"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&score.json()).expect("JSON");
        assert_eq!(
            (&json["points"], &json["of"], &json["passed"]),
            (&json!(3), &json!(4), &json!(false))
        );
        assert_eq!(json["exercises"][1]["message"], "\\u{7}no\n\tat all");
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let graded = Graded::new(OsStr::new("a.rs")).failed("\u{e9}".repeat(MESSAGE_MAX));
        let how = graded.how.expect("failed");
        assert!(how.ends_with("(the rest is left out)") && how.len() < MESSAGE_MAX + 100);
    }

    #[test]
    fn json_goes_where_it_is_said() {
        let parsed = |word: &str| Emit::parse(&[word.to_owned()]);
        assert_eq!(Emit::parse(&[]), Ok(Emit::Nothing));
        assert_eq!(parsed("json"), Ok(Emit::Stdout));
        assert_eq!(parsed("json=-"), Ok(Emit::Stdout));
        assert_eq!(parsed("json=a"), Ok(Emit::File("a".into())));
        for word in ["", "csv", "json=", "csv=a"] {
            assert!(parsed(word).is_err(), "{word}");
        }
    }
}
