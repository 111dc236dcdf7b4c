//! A trace as text: a line an event, in the order in which they began. Spans indent what is in them.

use super::format::{Micros, Plain, Subject, describe};
use super::names::Names;
use super::record::{Done, Record, Recorded, Turn};
use super::spans::Span;
use std::io::{self, Write};

/// The most spans that indent what is in them.
const DEEPEST: usize = 16;

/// What has a line.
enum Line<'r> {
    Record(&'r Record),
    Unanswered(&'r Turn),
    Begins(&'r Span),
    Ends(&'r Span),
}

pub(super) fn write(
    kept: &Recorded,
    subject: &Subject<'_, '_>,
    to: &mut dyn Write,
) -> io::Result<()> {
    let dropped = match kept.dropped() {
        0 => String::new(),
        dropped => format!("; {dropped} events before were dropped"),
    };
    writeln!(to, "# {}: times in us{dropped}", Plain(subject.name))?;
    writeln!(to, "#{:>12} {:>12} {:>12}  what", "at", "guest", "host")?;
    kept.steps().iter().try_for_each(|step| of_step(to, step, 0))?;
    let open: Vec<_> = kept.open().collect();
    let mut names = Names::new(subject);
    let mut inside = 0;
    for (at, line) in lines(kept, &open) {
        match line {
            Line::Record(Record::Turn(turn)) | Line::Unanswered(turn) => {
                of_turn(to, turn, &mut names, inside)?;
            }
            Line::Record(Record::Step(step)) => of_step(to, step, inside)?,
            Line::Record(Record::End(name, _)) => {
                writeln!(to, "{} end: {name}", Columns(at, None, None, inside))?;
            }
            Line::Record(Record::Span(_)) => {}
            Line::Begins(span) => {
                inside = span.depth;
                writeln!(to, "{} {{ {}", Columns(at, None, None, inside), Plain(&span.name))?;
                inside += 1;
            }
            Line::Ends(span) => {
                inside = span.depth;
                let time = Micros(span.ended - span.begun);
                let how = if span.open { ", never ended" } else { "" };
                let columns = Columns(at, None, None, inside);
                writeln!(to, "{columns} }} {} ({time} us{how})", Plain(&span.name))?;
            }
        }
    }
    Ok(())
}

/// All lines with their times, in order.
fn lines<'r>(kept: &'r Recorded, open: &'r [Span]) -> Vec<(u64, Line<'r>)> {
    // Where times are the same: first what ends, the innermost first; then what begins; then exits.
    let mut lines = Vec::new();
    let span = |span: &'r Span, lines: &mut Vec<_>| {
        // One that took no time has its end behind its beginning all the same.
        let no_time = span.begun == span.ended;
        let (ends, depth) = (if no_time { 2 } else { 0 }, span.depth);
        lines.push(((span.begun, 1, depth), Line::Begins(span)));
        lines.push(((span.ended, ends, usize::MAX - depth), Line::Ends(span)));
    };
    for record in kept.records() {
        match record {
            Record::Span(it) => span(it, &mut lines),
            Record::Turn(turn) => {
                // A span ends where the exit of its last call comes.
                lines.push(((turn.entered, 3, 0), Line::Record(record)));
            }
            record => lines.push(((record.at(), 3, 0), Line::Record(record))),
        }
    }
    open.iter().for_each(|it| span(it, &mut lines));
    if let Some(turn) = kept.unanswered() {
        lines.push(((turn.entered, 3, 0), Line::Unanswered(turn)));
    }
    lines.sort_by_key(|(key, _)| *key);
    lines.into_iter().map(|((at, ..), line)| (at, line)).collect()
}

/// The time, how long in the guest and in the host, and how far in spans it is.
struct Columns(u64, Option<u64>, Option<u64>, usize);

impl std::fmt::Display for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(at, guest, host, depth) = *self;
        let time = |time: Option<u64>| time.map_or_else(String::new, |it| Micros(it).to_string());
        let indent = 2 * depth.min(DEEPEST);
        write!(f, "{:>13} {:>12} {:>12} {:indent$}", Micros(at), time(guest), time(host), "")
    }
}

fn of_step(to: &mut dyn Write, step: &Done, inside: usize) -> io::Result<()> {
    let columns = Columns(step.at, None, Some(step.until - step.at), inside);
    let detail = step.detail.lines().next().unwrap_or_default();
    writeln!(to, "{columns} {} {}: {}", step.number, Plain(&step.what), Plain(detail))
}

fn of_turn(
    to: &mut dyn Write,
    turn: &Turn,
    names: &mut Names<'_, '_>,
    inside: usize,
) -> io::Result<()> {
    let times = (Some(turn.left - turn.entered), Some(turn.until - turn.left));
    write!(to, "{} ", Columns(turn.entered, times.0, times.1, inside))?;
    match &turn.call {
        Some(call) if call.result.is_empty() => write!(to, "{}", Plain(&call.call))?,
        Some(call) => write!(to, "{} = {}", Plain(&call.call), Plain(&call.result))?,
        None => write!(to, "{}", Plain(&describe(turn)))?,
    }
    match (names.at(turn), turn.rip) {
        (Some((name, offset)), _) => writeln!(to, "  [{}+{offset:#x}]", Plain(name)),
        (None, Some(rip)) => writeln!(to, "  [{rip:#x}]"),
        (None, None) => writeln!(to),
    }
}
