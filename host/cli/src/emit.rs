//! `--emit KIND[=FILE]`: what a run came to, for other programs.

use crate::code::Failure;
use crate::image_file::ImageFile;
use crate::output;
use crate::run::Ended;
use crate::say;
use inspect::core::AddressSpace;
use inspect::{DebugInfo, Explanation, Frame};
use portcall::exit::ExitKind;
use portcall::{End, Limit, registers};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Core,
}

/// One `--emit`.
#[derive(Clone, Debug)]
pub(crate) struct Emit {
    kind: Kind,
    /// `None` for stdout.
    file: Option<PathBuf>,
}

impl FromStr for Emit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, file) = text.split_once('=').unwrap_or((text, "-"));
        let kind = match kind {
            "json" => Kind::Json,
            "core" => Kind::Core,
            _ => return Err(format!("{kind} cannot be emitted; there are json and core")),
        };
        match (file, kind) {
            ("", _) => Err("it names no file after =; \"-\" is stdout".to_owned()),
            ("-", Kind::Core) => Err("a core file is sparse: name a file, core=FILE".to_owned()),
            ("-", Kind::Json) => Ok(Self { kind, file: None }),
            (file, _) => Ok(Self { kind, file: Some(file.into()) }),
        }
    }
}

/// An opened `--emit`. Opened before the run, so that a wrong path costs no run.
pub(crate) struct Output {
    kind: Kind,
    name: String,
    /// `None` for stdout.
    file: Option<File>,
}

impl Emit {
    pub(crate) fn open(&self, image: &ImageFile) -> Result<Output, Failure> {
        let Some(path) = &self.file else {
            return Ok(Output { kind: self.kind, name: "stdout".to_owned(), file: None });
        };
        let name = path.display().to_string();
        if image.is(path) {
            return Err(Failure::Message(format!("{name} is the image itself; name another file")));
        }
        let file = File::create(path)
            .map_err(|error| Failure::Message(format!("cannot create {name}: {error}")))?;
        Ok(Output { kind: self.kind, name, file: Some(file) })
    }
}

impl Output {
    pub(crate) fn write(self, ended: &Ended<'_>) -> Result<(), Failure> {
        let Self { kind, name, file } = self;
        match (kind, file) {
            (Kind::Core, Some(mut file)) => {
                let space = inspect::core::write(ended.vm, &ended.outcome.registers, &mut file)
                    .map_err(|error| Failure::Message(format!("{name}: {error}")))?;
                match space {
                    AddressSpace::Virtual => {}
                    AddressSpace::Physical => say!(
                        "  note: {name} has memory by guest-physical address: the page tables lead nowhere"
                    ),
                    _ => say!("  note: {name} is cut: the page tables map too much, or each other"),
                }
                Ok(())
            }
            (_, file) => {
                // One line.
                let line = format!("{}\n", json(ended));
                let done = match file {
                    Some(mut file) => file.write_all(line.as_bytes()),
                    None => output::print(&line),
                };
                done.map_err(|error| Failure::writing(&name, &error))
            }
        }
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
        "exits": { "all": outcome.stats.exits(), "by_kind": kinds, "by_port": ports },
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
    json!({
        "headline": explanation.headline,
        "place": explanation.place.as_ref().map(|place| place.shown()),
        "line": explanation.line,
        "instruction": explanation.instruction,
        "notes": explanation.notes,
        "backtrace": explanation.backtrace.iter().map(frame).collect::<Vec<_>>(),
        "backtrace_cut": explanation.backtrace_cut,
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
