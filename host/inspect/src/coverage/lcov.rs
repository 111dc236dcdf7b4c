//! Coverage as lcov has it (geninfo(1), "FILES"): for genhtml, editors and services.

use super::{Coverage, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a text is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no lcov: {text}; give what --emit coverage=FILE.info wrote")]
pub struct NotLcov {
    /// The line's number, from 1.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

impl Coverage {
    /// Writes it: a record a file. `test` is the name that the runs go by, of which letters, digits
    /// and `_` are left. Counts are 0 and 1, since how often a line was reached is not known.
    ///
    /// # Errors
    /// What is written to fails.
    pub fn write_lcov(&self, test: &str, to: &mut dyn Write) -> io::Result<()> {
        let letter = |it: char| if it.is_ascii_alphanumeric() { it } else { '_' };
        let test: String = test.chars().map(letter).collect();
        for (path, file) in &self.files {
            writeln!(to, "TN:{test}\nSF:{}", one_line(path))?;
            file.write(to)?;
            writeln!(to, "end_of_record")?;
        }
        Ok(())
    }

    /// Reads what [`write_lcov`](Self::write_lcov) wrote; records of other kinds are passed over.
    ///
    /// # Errors
    /// It is something else.
    pub fn read_lcov(text: &str) -> Result<Self, NotLcov> {
        let mut coverage = Self::default();
        let mut path: Option<PathBuf> = None;
        for (number, line) in text.lines().enumerate() {
            let wrong = || {
                let text = line.chars().take(80).map(portcall::printable).collect();
                NotLcov { line: number + 1, text }
            };
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            match key {
                "SF" => path = Some(value.into()),
                "DA" | "FN" | "FNDA" => {
                    let path = path.as_ref().ok_or_else(wrong)?;
                    let file = coverage.files.entry(path.clone()).or_default();
                    file.take(key, value).ok_or_else(wrong)?;
                }
                "end_of_record" => path = None,
                key if key.len() > 8 || !key.chars().all(|it| it.is_ascii_uppercase()) => {
                    return Err(wrong());
                }
                _ => {}
            }
        }
        Ok(coverage)
    }
}

impl File {
    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        for (line, name) in self.functions.keys() {
            writeln!(to, "FN:{line},{name}")?;
        }
        for ((_, name), called) in &self.functions {
            writeln!(to, "FNDA:{},{name}", u8::from(*called))?;
        }
        let called = self.functions.values().filter(|it| **it).count();
        writeln!(to, "FNF:{}\nFNH:{called}", self.functions.len())?;
        for (line, reached) in &self.lines {
            writeln!(to, "DA:{line},{}", u8::from(*reached))?;
        }
        let (reached, lines) = self.reached();
        writeln!(to, "LF:{lines}\nLH:{reached}")
    }

    /// Takes in a record.
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        let (number, rest) = value.split_once(',')?;
        let number: u32 = number.parse().ok()?;
        match key {
            "DA" => {
                // A checksum may follow.
                let count: u64 = rest.split(',').next()?.parse().ok()?;
                *self.lines.entry(number).or_default() |= count > 0;
            }
            "FN" => _ = self.functions.entry((number, rest.to_owned())).or_default(),
            _ => {
                let named = self.functions.iter_mut().filter(|((_, name), _)| name == rest);
                named.for_each(|(_, called)| *called |= number > 0);
            }
        }
        Some(())
    }
}

/// A path that does not end its line.
fn one_line(path: &Path) -> String {
    path.to_string_lossy().chars().map(portcall::printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let functions = [((1, "a::<b, c>".to_owned()), true), ((2, "d".to_owned()), false)];
        let lines = [(1, true), (2, false), (40, true)].into();
        let file = File { lines, functions: functions.into() };
        let coverage = Coverage { files: [("/src/a.rs".into(), file)].into() };
        let mut text = Vec::new();
        coverage.write_lcov("a test", &mut text).expect("written");
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("TN:a_test\nSF:/src/a.rs\nFN:1,a::<b, c>\n"), "{text}");
        assert_eq!(Coverage::read_lcov(&text), Ok(coverage));
        for wrong in ["DA:1,1", "SF:a\nDA:1", "SF:a\nDA:x,1", "<html>", "hello world"] {
            assert!(Coverage::read_lcov(wrong).is_err(), "{wrong}");
        }
    }
}
