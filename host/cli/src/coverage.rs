//! `portcall coverage`: what several runs have reached, together.

use crate::code::Failure;
use comfy_table::{CellAlignment, Table, presets};
use inspect::coverage::Coverage;
use inspect::printable;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What --emit coverage=FILE.info wrote, of one run or of many.
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Writes all of them as one lcov file.
    #[arg(long, value_name = "FILE")]
    lcov: Option<PathBuf>,

    /// Writes a page with the lines of source.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// What it is the coverage of, for the page.
    #[arg(long, value_name = "TEXT", default_value = "all runs")]
    title: String,
}

/// Puts them together, and says what was reached.
pub(crate) fn coverage(options: &Options) -> Result<u8, Failure> {
    let mut all = Coverage::default();
    for file in &options.files {
        let name = file.display();
        let text = std::fs::read(file)
            .map_err(|error| Failure::Message(format!("cannot read {name}: {error}")))?;
        let one = Coverage::read_lcov(&String::from_utf8_lossy(&text))
            .map_err(|error| Failure::Message(format!("{name}: {error}")))?;
        all.merge(one);
    }
    if let Some(path) = &options.lcov {
        write(path, |to| all.write_lcov(&options.title, to))?;
    }
    if let Some(path) = &options.html {
        write(path, |to| all.write_html(&options.title, to))?;
    }
    say!("{}", table(&all).trim_fmt());
    Ok(0)
}

fn write(path: &Path, text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let done = File::create(path).and_then(|file| {
        let mut to = BufWriter::new(file);
        text(&mut to)?;
        to.flush()
    });
    done.map_err(|error| Failure::Message(format!("cannot write {}: {error}", path.display())))
}

/// A line a file.
fn table(coverage: &Coverage) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["file", "lines", "reached", ""]);
    let here = std::env::current_dir().unwrap_or_default();
    let row = |name: String, (reached, lines): (usize, usize)| {
        // What is not all of it is not said to be.
        let share = (reached * 100).checked_div(lines).unwrap_or(100);
        [name, lines.to_string(), reached.to_string(), format!("{share}%")]
    };
    for (path, file) in &coverage.files {
        let shown = path.strip_prefix(&here).unwrap_or(path).display().to_string();
        table.add_row(row(printable(&shown), file.reached()));
    }
    table.add_row(row("all".to_owned(), coverage.reached()));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
