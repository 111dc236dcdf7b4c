//! What came of the tests, as libtest says it: people and programs read that.

use crate::list::Test;
use crate::worker::Report;
use anstyle::AnsiColor;
use std::io::{self, Write};
use std::time::Duration;

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A line a test.
    #[default]
    Pretty,
    /// A character a test.
    Terse,
}

/// What it looks like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// How much is said.
    pub form: Form,
    /// With colours.
    pub colour: bool,
    /// A test's name is there before its result: one runs at a time.
    pub one_by_one: bool,
    /// What tests print is there already, as it came.
    pub at_once: bool,
    /// What those print that pass is shown as well.
    pub successes: bool,
}

/// Characters of a line, where a test is one.
const WIDTH: usize = 88;

/// Says it.
pub struct Show {
    to: Box<dyn Write>,
    style: Style,
    total: usize,
    column: usize,
    passed: usize,
    ignored: usize,
    /// Names, and what there is to show.
    failures: Vec<(String, Vec<u8>)>,
    successes: Vec<(String, Vec<u8>)>,
}

impl Show {
    /// Says it there.
    #[must_use]
    pub fn new(to: Box<dyn Write>, style: Style) -> Self {
        Self {
            to,
            style,
            total: 0,
            column: 0,
            passed: 0,
            ignored: 0,
            failures: Vec::new(),
            successes: Vec::new(),
        }
    }

    /// How explanations look.
    pub(crate) const fn explained(&self) -> inspect::Style {
        inspect::Style { colour: self.style.colour }
    }

    /// The tests alone, without a run: names as they are, for programs, or with a count.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn list(&mut self, tests: &[Test]) -> io::Result<()> {
        for test in tests {
            writeln!(self.to, "{}: test", test.name)?;
        }
        if self.style.form == Form::Pretty {
            if !tests.is_empty() {
                writeln!(self.to)?;
            }
            writeln!(self.to, "{}, 0 benchmarks", count(tests.len()))?;
        }
        self.to.flush()
    }

    pub(crate) fn begin(&mut self, total: usize) -> io::Result<()> {
        self.total = total;
        writeln!(self.to, "\nrunning {}", count(total))?;
        self.to.flush()
    }

    /// A test is about to run.
    pub(crate) fn starts(&mut self, test: &Test) -> io::Result<()> {
        if self.style.one_by_one && self.style.form == Form::Pretty {
            self.name(test)?;
            self.to.flush()?;
        }
        Ok(())
    }

    fn name(&mut self, test: &Test) -> io::Result<()> {
        let panics = if test.should_panic.is_some() { " - should panic" } else { "" };
        write!(self.to, "test {}{panics} ... ", test.name)
    }

    /// A test is not run.
    pub(crate) fn ignored(&mut self, test: &Test) -> io::Result<()> {
        self.ignored += 1;
        let why = test.ignored.as_deref().filter(|it| !it.is_empty());
        let word = why.map_or_else(|| "ignored".to_owned(), |why| format!("ignored, {why}"));
        match self.style.form {
            Form::Pretty => {
                self.name(test)?;
                self.word(&word, AnsiColor::Yellow)?;
                writeln!(self.to)?;
            }
            Form::Terse => self.short("i", AnsiColor::Yellow)?,
        }
        self.to.flush()
    }

    /// A test has run.
    pub(crate) fn ended(&mut self, test: &Test, report: Report) -> io::Result<()> {
        let Report { passed, mut printed, why, .. } = report;
        if self.style.form == Form::Pretty && !self.style.one_by_one {
            self.name(test)?;
        }
        match (self.style.form, passed) {
            (Form::Pretty, true) => self.word("ok", AnsiColor::Green)?,
            (Form::Pretty, false) => self.word("FAILED", AnsiColor::Red)?,
            (Form::Terse, true) => self.short(".", AnsiColor::Green)?,
            (Form::Terse, false) => {
                // On a line of its own, so that it is found.
                if self.column > 0 {
                    writeln!(self.to)?;
                }
                self.column = 0;
                write!(self.to, "{} --- ", test.name)?;
                self.word("FAILED", AnsiColor::Red)?;
            }
        }
        if self.style.form == Form::Pretty || !passed {
            writeln!(self.to)?;
        }
        if passed {
            self.passed += 1;
            if self.style.successes {
                self.successes.push((test.name.clone(), printed));
            }
            return self.to.flush();
        }
        if self.style.at_once {
            self.to.flush()?;
            // As text of a test is: now, and not again.
            let mut stderr = io::stderr().lock();
            let _ = stderr.write_all(why.as_bytes());
        } else {
            if !printed.is_empty() && !printed.ends_with(b"\n") {
                printed.push(b'\n');
            }
            printed.extend_from_slice(why.as_bytes());
        }
        self.failures.push((test.name.clone(), printed));
        self.to.flush()
    }

    fn word(&mut self, word: &str, colour: AnsiColor) -> io::Result<()> {
        if !self.style.colour {
            return write!(self.to, "{word}");
        }
        let style = colour.on_default();
        write!(self.to, "{style}{word}{style:#}")
    }

    fn short(&mut self, word: &str, colour: AnsiColor) -> io::Result<()> {
        self.word(word, colour)?;
        self.column += 1;
        if self.column == WIDTH {
            let done = self.passed + self.ignored + self.failures.len();
            // The one at hand is counted behind this, but for those that are ignored.
            let done = done + usize::from(word == ".");
            writeln!(self.to, " {done}/{}", self.total)?;
            self.column = 0;
        }
        Ok(())
    }

    /// Says how it ended; whether all passed.
    pub(crate) fn conclude(&mut self, filtered_out: usize, time: Duration) -> io::Result<bool> {
        if self.style.successes {
            let successes = std::mem::take(&mut self.successes);
            self.section("successes", &successes)?;
        }
        let good = self.failures.is_empty();
        let failures = std::mem::take(&mut self.failures);
        if !good {
            self.section("failures", &failures)?;
        }
        write!(self.to, "\ntest result: ")?;
        match good {
            true => self.word("ok", AnsiColor::Green)?,
            false => self.word("FAILED", AnsiColor::Red)?,
        }
        writeln!(
            self.to,
            ". {} passed; {} failed; {} ignored; 0 measured; {filtered_out} filtered out; finished \
             in {:.2}s\n",
            self.passed,
            failures.len(),
            self.ignored,
            time.as_secs_f64(),
        )?;
        self.to.flush()?;
        Ok(good)
    }

    /// What tests have printed, and their names, in order.
    fn section(&mut self, title: &str, tests: &[(String, Vec<u8>)]) -> io::Result<()> {
        writeln!(self.to, "\n{title}:")?;
        let mut first = true;
        for (name, printed) in tests.iter().filter(|(_, printed)| !printed.is_empty()) {
            if std::mem::take(&mut first) {
                writeln!(self.to)?;
            }
            writeln!(self.to, "---- {name} stdout ----")?;
            self.to.write_all(printed)?;
            let ends = if printed.ends_with(b"\n") { "" } else { "\n" };
            writeln!(self.to, "{ends}")?;
        }
        let mut names: Vec<_> = tests.iter().map(|(name, _)| name).collect();
        names.sort();
        writeln!(self.to, "\n{title}:")?;
        names.into_iter().try_for_each(|name| writeln!(self.to, "    {name}"))
    }
}

/// `1 test`, `2 tests`.
fn count(tests: usize) -> String {
    format!("{tests} test{}", if tests == 1 { "" } else { "s" })
}
