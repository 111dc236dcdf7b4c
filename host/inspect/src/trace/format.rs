//! What is written, of whom, and the pieces that all formats have in common.

use super::record::Turn;
use crate::kind::KvmKind;
use crate::symbols::Symbols;
use portcall::Exit;
use portcall::abi::port;
use std::fmt;
use std::path::Path;

/// A form that a trace is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The Trace Event Format: JSON that ui.perfetto.dev and chrome://tracing open.
    Events,
    /// A line an event, for people.
    Text,
    /// JSON lines: an object a line, for programs.
    Lines,
}

impl Format {
    /// By a file's name: `.txt` and `.log` are text, `.jsonl` is JSON lines, all others are events.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("txt" | "log") => Self::Text,
            Some("jsonl") => Self::Lines,
            _ => Self::Events,
        }
    }
}

/// Whom a trace is of.
#[derive(Clone, Copy)]
pub struct Subject<'s, 'f> {
    /// What people call the guest.
    pub name: &'s str,
    /// Its image's symbols, if they are known.
    pub symbols: Option<&'s Symbols<'f>>,
    /// The KVM that ran it, which says where RIP is at an exit.
    pub kind: KvmKind,
}

impl fmt::Debug for Subject<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Nanoseconds as microseconds, to the last digit.
pub(crate) struct Micros(pub(super) u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

/// A text as a string of JSON's.
pub(crate) struct Quoted<'t>(pub(super) &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A string always can be one of JSON's.
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// A text on one line, without what a terminal would obey.
pub(crate) struct Plain<'t>(pub(super) &'t str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| f.write_char(portcall::printable(c)))
    }
}

/// What the host did about an exit, in a word or two: `Store::put`, `out 0xe9 console`, `hlt`.
pub(crate) fn title(turn: &Turn) -> String {
    if let Some(call) = &turn.call {
        return call.call.split('(').next().unwrap_or_default().to_owned();
    }
    match &turn.exit {
        Exit::Io(io) => {
            let name = if io.read { "in" } else { "out" };
            let known = contract(io.port, io.read).map_or_else(String::new, |it| format!(" {it}"));
            format!("{name} {:#x}{known}", io.port)
        }
        exit => exit.kind().name().to_owned(),
    }
}

/// What the contract has at a port.
const fn contract(port: u16, read: bool) -> Option<&'static str> {
    Some(match (port, read) {
        (port::CONSOLE, false) => "console",
        (port::FLUSH, false) => "flush",
        (port::INPUT, true) => "input",
        (port::EXIT, false) => "exit",
        (port::PANIC, false) => "panic",
        (port::EXCEPTION, false) => "exception",
        (port::CALL, false) => "call",
        (port::SERVE, false) => "serve",
        _ => return None,
    })
}

/// The exit with the first of what it writes, and the call if it was one.
pub(crate) fn describe(turn: &Turn) -> String {
    let mut text = turn.exit.to_string();
    if let Some(value) = value(turn) {
        text += &format!(", {value:#x}");
    }
    text
}

/// The first of what an exit writes.
pub(crate) fn value(turn: &Turn) -> Option<u32> {
    turn.written.map(u32::from_le_bytes)
}
