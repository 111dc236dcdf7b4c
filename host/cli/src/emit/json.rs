//! `--emit json`: what a run came to, as one object.

use super::sink::Sink;
use super::{Kind, Output, Place, Wants};
use crate::code::Failure;
use crate::session::Ended;
use inspect::{DebugInfo, Explanation, Frame, WalkEnd};
use portcall::exit::ExitKind;
use portcall::{End, Limit, registers};
use serde_json::{Map, Value, json};
use std::fs::File;

pub(super) const KIND: Kind = Kind {
    name: "json",
    not_stdout: None,
    once: None,
    wants: Wants { counts: true, ..Wants::NOTHING },
    open,
};

struct Json(Sink);

fn open(place: Place) -> Result<Box<dyn Output>, Failure> {
    Ok(Box::new(Json(Sink::open(place)?)))
}

impl Output for Json {
    fn file(&self) -> Option<&File> {
        self.0.file.as_ref()
    }

    fn write(self: Box<Self>, ended: &Ended<'_>) -> Result<(), Failure> {
        // One line.
        self.0.write(|to| writeln!(to, "{}", json(ended)))
    }
}

/// A finished run as JSON. 64-bit values are strings in hexadecimal, since JSON's readers may
/// take numbers for doubles; counts are numbers; times are microseconds.
fn json(ended: &Ended<'_>) -> Value {
    let (outcome, counts) = (ended.outcome, &ended.counts);
    let registers: Map<String, Value> = registers::named(&outcome.registers)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), hexadecimal(value)))
        .collect();
    let kinds: Map<String, Value> = ExitKind::ALL
        .into_iter()
        .map(|kind| (kind.name().to_owned(), outcome.stats.exits_of(kind).into()))
        .collect();
    let ports: Map<String, Value> = counts
        .ports
        .iter()
        .map(|(number, port)| {
            let counts = json!({
                "reads": port.reads, "writes": port.writes, "bytes": port.bytes,
            });
            (format!("{number:#x}"), counts)
        })
        .collect();
    let unanswered: Map<String, Value> = outcome
        .stats
        .unanswered
        .iter()
        .map(|(port, (reads, writes))| {
            (format!("{port:#x}"), json!({ "reads": reads, "writes": writes }))
        })
        .collect();
    // A list, since a guest may give a key twice.
    let annotations: Vec<Value> = outcome
        .annotations
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    let unmet: Vec<Value> = ended
        .unmet
        .iter()
        .map(|(wanted, found)| json!({ "expected": wanted, "found": found }))
        .collect();
    json!({
        "end": end(&outcome.end),
        "code": ended.code,
        "explanation": ended.explanation.as_ref().map(explanation),
        "registers": registers,
        "calls": outcome.stats.calls,
        "exits": { "all": outcome.stats.exits(), "by_kind": kinds, "by_port": ports },
        "annotations": annotations,
        "unanswered_ports": unanswered,
        "console": {
            "bytes": outcome.stats.console_bytes, "lost": outcome.stats.console_lost,
        },
        "time_us": {
            "guest": micros(counts.in_guest), "host": micros(counts.in_host),
        },
        "emulated_instructions": ended.instructions,
        "unmet_expectations": unmet,
    })
}

fn explanation(explanation: &Explanation) -> Value {
    let why = match &explanation.debug_info {
        DebugInfo::Lines => None,
        DebugInfo::Symbols(why) | DebugInfo::Nothing(why) => Some(*why),
    };
    let system = &explanation.system;
    json!({
        "headline": explanation.headline,
        "place": explanation.place.as_ref().map(|place| place.shown()),
        "line": explanation.line,
        "instruction": explanation.instruction,
        "notes": explanation.notes,
        "backtrace": explanation.backtrace.iter().map(frame).collect::<Vec<_>>(),
        "backtrace_end": match explanation.backtrace_end {
            WalkEnd::Complete => "complete",
            WalkEnd::Lost => "lost",
            WalkEnd::Cut => "cut",
        },
        "system_registers": {
            "cr0": hexadecimal(system.cr0), "cr2": hexadecimal(system.cr2),
            "cr3": hexadecimal(system.cr3), "cr4": hexadecimal(system.cr4),
            "efer": hexadecimal(system.efer),
            "cs": hexadecimal(system.cs.selector.into()),
            "ss": hexadecimal(system.ss.selector.into()),
            "ds": hexadecimal(system.ds.selector.into()),
            "es": hexadecimal(system.es.selector.into()),
            "fs_base": hexadecimal(system.fs.base), "gs_base": hexadecimal(system.gs.base),
            "gdt_base": hexadecimal(system.gdt.base), "gdt_limit": system.gdt.limit,
            "idt_base": hexadecimal(system.idt.base), "idt_limit": system.idt.limit,
            "tr": hexadecimal(system.tr.selector.into()),
        },
        "no_lines_because": why,
    })
}

fn frame(frame: &Frame) -> Value {
    json!({
        "address": hexadecimal(frame.address),
        "function": frame.function,
        "offset": frame.offset,
        "file": frame.source.as_ref().map(|at| at.file.display().to_string()),
        "line": frame.source.as_ref().map(|at| at.line),
        "column": frame.source.as_ref().map(|at| at.column),
        "inlined": frame.inlined,
    })
}

fn end(end: &End) -> Value {
    let mut value = match end {
        End::Exited(code) => json!({ "code": code }),
        End::Panicked { message, at } => json!({
            "message": message,
            "at": at.as_ref().map(|at| {
                json!({ "file": at.file, "line": at.line, "column": at.column })
            }),
        }),
        End::Exception(exception) => json!({
            "vector": exception.vector,
            "mnemonic": exception.name().0,
            "error_code": exception.error_code.map(hexadecimal),
            "rip": hexadecimal(exception.rip.0),
            "cs": hexadecimal(exception.cs.into()),
            "cr2": exception.cr2.map(|address| hexadecimal(address.0)),
        }),
        End::UnmappedAccess { gpa, write } => {
            json!({ "gpa": hexadecimal(gpa.0), "write": write })
        }
        End::CallRefused { call, why } => json!({ "call": call, "why": why }),
        End::HandlerFailed { message } => json!({ "message": message }),
        End::Diverged { expected, actual } => json!({ "expected": expected, "actual": actual }),
        End::LimitReached(limit) => match limit {
            Limit::Time(time) => json!({ "limit": limit.name(), "us": micros(*time) }),
            Limit::Exits(most) | Limit::Console(most) | Limit::Calls(most) => {
                json!({ "limit": limit.name(), "most": most })
            }
            _ => json!({ "limit": limit.name() }),
        },
        End::EmulationFailed { bytes } => {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "bytes": bytes.join(" ") })
        }
        End::InternalError { suberror, data } => {
            let data: Vec<Value> = data.iter().copied().map(hexadecimal).collect();
            json!({ "suberror": suberror, "data": data })
        }
        End::EntryFailed { reason } => json!({ "reason": hexadecimal(*reason) }),
        End::UnexpectedExit { reason } => json!({ "reason": reason }),
        _ => json!({}),
    };
    value["name"] = end.name().into();
    value["text"] = end.to_string().into();
    value
}

fn hexadecimal(value: u64) -> Value {
    format!("{value:#x}").into()
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
