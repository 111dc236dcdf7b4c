//! `--emit KIND[=FILE]`: what a run came to, for other programs.

use crate::code::Failure;
use crate::count::Counts;
use portcall::exit::ExitKind;
use portcall::{End, Limit, Outcome, registers};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

/// One `--emit`.
#[derive(Clone, Debug)]
pub(crate) struct Emit {
    /// `None` for stdout.
    file: Option<PathBuf>,
}

impl FromStr for Emit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, file) = text.split_once('=').unwrap_or((text, "-"));
        if kind != "json" {
            return Err(format!("{kind} cannot be emitted; there is json"));
        }
        match file {
            "" => Err("it names no file after =; \"-\" is stdout".to_owned()),
            "-" => Ok(Self { file: None }),
            file => Ok(Self { file: Some(file.into()) }),
        }
    }
}

/// An opened `--emit`. Opened before the run, so that a wrong path costs no run.
pub(crate) struct Output {
    name: String,
    to: Box<dyn Write>,
}

impl Emit {
    pub(crate) fn open(&self) -> Result<Output, Failure> {
        let Some(path) = &self.file else {
            return Ok(Output { name: "stdout".to_owned(), to: Box::new(io::stdout()) });
        };
        let name = path.display().to_string();
        let file = File::create(path)
            .map_err(|error| Failure::Message(format!("cannot create {name}: {error}")))?;
        Ok(Output { name, to: Box::new(file) })
    }
}

impl Output {
    /// Writes the run as one line of JSON.
    pub(crate) fn write(mut self, run: &Value) -> Result<(), Failure> {
        let done = writeln!(self.to, "{run}").and_then(|()| self.to.flush());
        done.map_err(|error| Failure::writing(&self.name, &error))
    }
}

/// A finished run as JSON. 64-bit values are strings in hexadecimal, since JSON's readers may
/// take numbers for doubles; counts are numbers; times are microseconds.
pub(crate) fn json(
    outcome: &Outcome,
    code: u8,
    counts: &Counts,
    instructions: Option<u64>,
    unmet: &[(String, String)],
) -> Value {
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
    let unmet: Vec<Value> =
        unmet.iter().map(|(wanted, found)| json!({ "expected": wanted, "found": found })).collect();
    json!({
        "end": end(&outcome.end),
        "code": code,
        "registers": registers,
        "exits": { "all": outcome.stats.exits(), "by_kind": kinds, "by_port": ports },
        "unanswered_ports": unanswered,
        "console": {
            "bytes": outcome.stats.console_bytes, "lost": outcome.stats.console_lost,
        },
        "time_us": {
            "guest": micros(counts.in_guest), "host": micros(counts.in_host),
        },
        "emulated_instructions": instructions,
        "unmet_expectations": unmet,
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
        End::HandlerFailed { message } => json!({ "message": message }),
        End::LimitReached(Limit::Time(time)) => json!({ "limit": "time", "us": micros(*time) }),
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
