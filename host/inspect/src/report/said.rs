//! What the guest said: its console, its log, what it measured, and what it left to be said of it.

use super::{NAME, Report, SENTENCE, block, grouped, guests};
use ::page::text;
use maud::{Markup, html};

/// The most rows of a table of the guest's.
const ROWS: usize = 200;
/// The most bytes that the console's text takes in the page, at each of its ends.
const SHOWN: usize = 64 << 10;

/// Text and lines that were kept, from the beginning and from the end.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The first bytes of the console, and the last behind those.
    pub console: (Vec<u8>, Vec<u8>),
    /// How many there were between them.
    pub console_between: u64,
    /// Lines of the log: a level, and the text.
    pub log: Vec<(&'static str, String)>,
    /// How many more there were, and behind which of those lines.
    pub log_between: (usize, u64),
}

/// A table for people: what its columns are called, rows, and remarks.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// One a column.
    pub header: Vec<&'static str>,
    /// One a row, as long as the header.
    pub rows: Vec<Vec<String>>,
    /// Sentences.
    pub notes: Vec<String>,
}

pub(super) fn all(report: &Report<'_, '_>) -> Markup {
    let said = &report.said;
    html! {
        h3 { "Console" }
        (console(said))
        @if !said.log.is_empty() { h3 { "Log" } (log(said)) }
        @if !report.measured.rows.is_empty() || !report.measured.notes.is_empty() {
            h3 { "Measured" } (measured(&report.measured))
        }
        (annotations(report))
    }
}

fn console(said: &Said) -> Markup {
    let (first, last) = &said.console;
    html! {
        @if first.is_empty() { p.note { "It printed nothing." } } @else {
            pre.console tabindex="0" { (piece(first, true)) }
            @if said.console_between > 0 {
                p.note { "\u{2026} " (grouped(said.console_between)) " bytes are left out here" }
            }
            @if !last.is_empty() { pre.console tabindex="0" { (piece(last, false)) } }
        }
    }
}

/// Bytes that are no text take several characters each.
fn piece(bytes: &[u8], from_start: bool) -> String {
    let text = text::bytes(bytes);
    if text.len() <= SHOWN {
        return text;
    }
    match from_start {
        true => format!("{}\u{2026}", &text[..text.floor_char_boundary(SHOWN)]),
        false => format!("\u{2026}{}", &text[text.ceil_char_boundary(text.len() - SHOWN)..]),
    }
}

fn log(said: &Said) -> Markup {
    let (behind, between) = said.log_between;
    html! {
        ol.log {
            @for (i, (level, text)) in said.log.iter().enumerate() {
                @if i == behind && between > 0 { li.note { "\u{2026} " (grouped(between)) " lines are left out here" } }
                li { span class={ "level " (level) } { (level) } " " (block(text)) }
            }
        }
    }
}

fn measured(table: &Table) -> Markup {
    let left = table.rows.len().saturating_sub(ROWS);
    html! {
        @if !table.rows.is_empty() { div.scroll { table {
            caption { "An operation's times, the timer's own subtracted" }
            thead { tr { @for name in &table.header { th scope="col" { (name) } } } }
            tbody { @for row in table.rows.iter().take(ROWS) { tr {
                @for (i, cell) in row.iter().enumerate() {
                    @if i == 0 { th scope="row" { (guests(cell, 64)) } } @else { td { (guests(cell, 64)) } }
                }
            } } }
        } } }
        @if left > 0 { p.note { "\u{2026} and " (left) " more" } }
        @for note in table.notes.iter().take(ROWS) { p.note { (block(note)) } }
    }
}

fn annotations(report: &Report<'_, '_>) -> Markup {
    let all: Vec<_> = report.outcome.annotations.iter().collect();
    html! {
        @if !all.is_empty() {
            h3 { "Annotations" }
            dl { @for (key, value) in &all {
                dt { (guests(key, NAME)) } dd { (guests(value, SENTENCE)) }
            } }
        }
    }
}
