//! The Trace Event Format (Google, "Trace Event Format", 2016): one JSON object, `traceEvents` in it,
//! times in microseconds. Read by ui.perfetto.dev, chrome://tracing and speedscope.
//!
//! One process, three tracks: the guest (one piece a KVM_RUN, named after the function that it left
//! in), the host (steps and answers), and the guest's spans.

use super::format::{Micros, Quoted, Subject, describe, title, value};
use super::names::Names;
use super::record::{Done, Record, Recorded, Turn};
use super::spans::Span;
use portcall::Exit;
use std::fmt::Write as _;
use std::io::{self, Write};

/// The tracks, and what they are called.
const GUEST: u32 = 1;
const HOST: u32 = 2;
const SPANS: u32 = 3;
const TRACKS: [(u32, &str); 3] =
    [(GUEST, "guest (KVM_RUN)"), (HOST, "host (steps, answers)"), (SPANS, "spans of the guest")];

pub(super) fn write(
    kept: &Recorded,
    subject: &Subject<'_, '_>,
    to: &mut dyn Write,
) -> io::Result<()> {
    let name = Quoted(subject.name);
    let dropped = kept.dropped();
    // Numbers there are taken for anything; texts are shown.
    write!(
        to,
        r#"{{"displayTimeUnit":"ns","otherData":{{"guest":{name},"dropped":"{dropped}"}},"#
    )?;
    write!(to, r#""traceEvents":["#)?;
    write!(
        to,
        r#"{{"name":"process_name","ph":"M","ts":0,"pid":1,"tid":{GUEST},"args":{{"name":{name}}}}}"#
    )?;
    for (track, name) in TRACKS {
        let name = Quoted(name);
        metadata(to, "thread_name", track, format_args!(r#""name":{name}"#))?;
        metadata(to, "thread_sort_index", track, format_args!(r#""sort_index":{track}"#))?;
    }
    kept.steps().iter().try_for_each(|step| of_step(to, step))?;
    let mut names = Names::new(subject);
    let records = kept.records();
    if dropped > 0 {
        let (text, at) = (format!("{dropped} events dropped"), records.first());
        let at = at.map_or(0, |first| first.at());
        instant(to, &text, GUEST, at)?;
    }
    for record in records {
        match record {
            Record::Turn(turn) => of_turn(to, turn, &mut names)?,
            Record::Step(step) => of_step(to, step)?,
            Record::Span(span) => of_span(to, span)?,
            Record::End(name, at) => instant(to, &format!("end: {name}"), GUEST, *at)?,
        }
    }
    kept.unanswered().map_or(Ok(()), |turn| of_turn(to, turn, &mut names))?;
    kept.open().try_for_each(|span| of_span(to, &span))?;
    writeln!(to, "\n]}}")
}

fn metadata(
    to: &mut dyn Write,
    name: &str,
    track: u32,
    argument: std::fmt::Arguments<'_>,
) -> io::Result<()> {
    write!(
        to,
        ",\n{{\"name\":\"{name}\",\"ph\":\"M\",\"ts\":0,\"pid\":1,\"tid\":{track},\"args\":{{{argument}}}}}"
    )
}

/// A moment.
fn instant(to: &mut dyn Write, name: &str, track: u32, at: u64) -> io::Result<()> {
    let (name, at) = (Quoted(name), Micros(at));
    write!(
        to,
        ",\n{{\"name\":{name},\"ph\":\"i\",\"s\":\"t\",\"ts\":{at},\"pid\":1,\"tid\":{track}}}"
    )
}

/// A piece of a track; `arguments` are the members of an object.
fn piece(
    to: &mut dyn Write,
    (name, category): (&str, &str),
    track: u32,
    (from, until): (u64, u64),
    arguments: &str,
) -> io::Result<()> {
    let (name, at, time) = (Quoted(name), Micros(from), Micros(until.saturating_sub(from)));
    write!(
        to,
        ",\n{{\"name\":{name},\"cat\":\"{category}\",\"ph\":\"X\",\"ts\":{at},\"dur\":{time},\
         \"pid\":1,\"tid\":{track},\"args\":{{{arguments}}}}}"
    )
}

fn of_turn(to: &mut dyn Write, turn: &Turn, names: &mut Names<'_, '_>) -> io::Result<()> {
    let mut arguments = format!(r#""exit":{}"#, Quoted(&describe(turn)));
    // Writing to a String does not fail, here and below.
    if let Some(rip) = turn.rip {
        let _ = write!(arguments, r#","rip":"{rip:#x}""#);
    }
    let place = names.at(turn);
    if let Some((name, offset)) = place {
        let _ = write!(arguments, r#","symbol":{}"#, Quoted(&format!("{name}+{offset:#x}")));
    }
    let name = place.map_or("guest", |(name, _)| name);
    piece(to, (name, "guest"), GUEST, (turn.entered, turn.left), &arguments)?;

    let mut arguments = String::new();
    if let Exit::Io(io) = &turn.exit {
        let _ = write!(arguments, r#""port":"{:#x}""#, io.port);
    }
    if let Some(value) = value(turn) {
        let _ = write!(arguments, r#","value":"{value:#x}""#);
    }
    if let Some(call) = &turn.call {
        let _ = write!(arguments, r#","call":{}"#, Quoted(&call.call));
        if !call.result.is_empty() {
            let _ = write!(arguments, r#","result":{}"#, Quoted(&call.result));
        }
    }
    piece(to, (&title(turn), "host"), HOST, (turn.left, turn.until), &arguments)
}

fn of_step(to: &mut dyn Write, step: &Done) -> io::Result<()> {
    let name = format!("{} {}", step.number, step.what);
    let arguments = format!(r#""detail":{}"#, Quoted(&step.detail));
    piece(to, (&name, "step"), HOST, (step.at, step.until), &arguments)
}

fn of_span(to: &mut dyn Write, span: &Span) -> io::Result<()> {
    let arguments = if span.open { r#""open":"never ended""# } else { "" };
    piece(to, (&span.name, "span"), SPANS, (span.begun, span.ended), arguments)
}
