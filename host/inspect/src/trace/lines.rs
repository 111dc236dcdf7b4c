//! A trace as JSON lines, an object a line: the steps before the first exit, then all else in the order
//! in which it began. Behind those are the exit that nobody has answered and the spans that have not
//! ended, and the last line says how many there are not. Times are microseconds, 64-bit values strings
//! in hexadecimal.

use super::format::{Micros, Quoted, Subject, describe, value};
use super::names::Names;
use super::record::{Done, Record, Recorded, Turn};
use super::spans::Span;
use portcall::Exit;
use std::io::{self, Write};

pub(super) fn write(
    kept: &Recorded,
    subject: &Subject<'_, '_>,
    to: &mut dyn Write,
) -> io::Result<()> {
    kept.steps().iter().try_for_each(|step| of_step(to, step))?;
    let mut names = Names::new(subject);
    for record in kept.records() {
        match record {
            Record::Turn(turn) => of_turn(to, turn, &mut names)?,
            Record::Step(step) => of_step(to, step)?,
            Record::Span(span) => of_span(to, span)?,
            Record::End(name, at) => {
                let (name, at) = (Quoted(name), Micros(*at));
                writeln!(to, r#"{{"type":"end","at_us":{at},"end":{name}}}"#)?;
            }
        }
    }
    kept.unanswered().map_or(Ok(()), |turn| of_turn(to, turn, &mut names))?;
    kept.open().try_for_each(|span| of_span(to, &span))?;
    let (name, dropped) = (Quoted(subject.name), kept.dropped());
    writeln!(to, r#"{{"type":"trace","guest":{name},"dropped":{dropped}}}"#)
}

fn of_turn(to: &mut dyn Write, turn: &Turn, names: &mut Names<'_, '_>) -> io::Result<()> {
    let (at, exit) = (Micros(turn.entered), Quoted(&describe(turn)).to_string());
    let (guest, host) = (Micros(turn.left - turn.entered), Micros(turn.until - turn.left));
    let kind = turn.exit.kind().name();
    write!(to, r#"{{"type":"exit","at_us":{at},"guest_us":{guest},"host_us":{host}"#)?;
    write!(to, r#","kind":"{kind}","exit":{exit}"#)?;
    if let Exit::Io(io) = &turn.exit {
        write!(to, r#","port":{},"width":{},"count":{}"#, io.port, io.width, io.count)?;
    }
    if let Some(value) = value(turn) {
        write!(to, r#","value":{value}"#)?;
    }
    if let Some(call) = &turn.call {
        write!(to, r#","call":{},"result":{}"#, Quoted(&call.call), Quoted(&call.result))?;
    }
    if let Some(rip) = turn.rip {
        write!(to, r#","rip":"{rip:#x}""#)?;
    }
    if let Some((name, offset)) = names.at(turn) {
        write!(to, r#","symbol":{},"offset":{offset}"#, Quoted(name))?;
    }
    writeln!(to, "}}")
}

fn of_step(to: &mut dyn Write, step: &Done) -> io::Result<()> {
    let (number, at, time) = (step.number, Micros(step.at), Micros(step.until - step.at));
    let (what, detail) = (Quoted(&step.what), Quoted(&step.detail));
    writeln!(
        to,
        r#"{{"type":"step","at_us":{at},"host_us":{time},"number":{number},"what":{what},"detail":{detail}}}"#
    )
}

fn of_span(to: &mut dyn Write, span: &Span) -> io::Result<()> {
    let (at, time) = (Micros(span.begun), Micros(span.ended - span.begun));
    let (name, depth, ended) = (Quoted(&span.name), span.depth, !span.open);
    writeln!(
        to,
        r#"{{"type":"span","at_us":{at},"us":{time},"name":{name},"depth":{depth},"ended":{ended}}}"#
    )
}
