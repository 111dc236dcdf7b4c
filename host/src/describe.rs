//! Exits and calls as observers are told of them: a call in words, its arguments and results decoded
//! by the interface's table.

use crate::claims::Claims;
use crate::error::Error;
use crate::exit::{Exit, Io};
use crate::observe::{CallEvent, ExitEvent};
use crate::vm::Vm;
use abi::calls::{Fixed, Kind, Method, Reader, Refusal, WORDS_MAX};
use std::fmt::Write;
use std::time::Instant;

/// The most bytes of a text or buffer that are shown.
const SHOWN: u64 = 32;

impl Vm {
    /// Tells the observers of an exit, for which the guest was entered then.
    pub(crate) fn report_exit(&mut self, exit: &Exit, entered: Instant) -> Result<(), Error> {
        let left = Instant::now();
        // Only where they are in the mapping: nobody is to cost an ioctl.
        let registers = self.vcpu.has_registers().then(|| self.vcpu.registers()).transpose()?;
        let registers = registers.as_ref().filter(|_| self.steps.want_registers());
        let written: &[u8] = match exit {
            Exit::Io(io @ Io { read: false, .. }) => self.vcpu.elements(io),
            _ => &[],
        };
        self.steps.exit(&ExitEvent { exit, entered, left, written, registers });
        Ok(())
    }

    /// The call with its arguments as they are now, if anyone watches.
    pub(crate) fn describe_call(&self, number: u32, words: &[u64; WORDS_MAX]) -> Option<String> {
        if !self.steps.want_calls() {
            return None;
        }
        let mut text = self.calls.name(number);
        if let Some(method) = self.calls.known(number) {
            let claims = Claims::new(&self.memory, &self.vcpu).unrecorded();
            text += &arguments(method, words, &claims);
        }
        Some(text)
    }

    /// Tells the observers of a call that was answered: with these words, by those.
    pub(crate) fn report_call(
        &mut self,
        number: u32,
        call: &str,
        words: &[u64; WORDS_MAX],
        results: &[u64],
    ) {
        let mut text = String::new();
        let claims = Claims::new(&self.memory, &self.vcpu).unrecorded();
        if let Some(method) = self.calls.known(number)
            && method.result != Kind::Unit
        {
            value(&mut text, &method.result, &mut Reader::new(results), &claims);
        }
        let event = CallEvent { number, call, result: &text, words, results, claims: &claims };
        self.steps.call(&event);
    }
}

/// `(key: "a", value: 3 bytes 78 79 7a)`.
fn arguments(method: &Method, words: &[u64], claims: &Claims<'_>) -> String {
    let (mut text, mut from) = ("(".to_owned(), Reader::new(words));
    for (i, (name, kind)) in method.arguments.iter().enumerate() {
        // Writing to a String does not fail, here and below.
        let _ = write!(text, "{}{name}: ", if i > 0 { ", " } else { "" });
        value(&mut text, kind, &mut from, claims);
    }
    text + ")"
}

/// One value, of whatever its words claim.
fn value(text: &mut String, kind: &Kind, from: &mut Reader<'_>, claims: &Claims<'_>) {
    let end = from.used() + kind.words();
    let _ = match kind {
        Kind::Unit => write!(text, "()"),
        Kind::Bool => match from.take() {
            word @ (0 | 1) => write!(text, "{}", word == 1),
            other => write!(text, "{other:#x}"),
        },
        Kind::Signed(_) => write!(text, "{}", from.take().cast_signed()),
        Kind::Text | Kind::Bytes | Kind::BytesMut | Kind::Encoded(_) => {
            bytes(text, kind, (from.take(), from.take()), claims)
        }
        Kind::Array(element, count) => {
            list(text, ('[', ']'), (0..*count).map(|_| ("", *element)), from, claims)
        }
        Kind::Struct(this) => {
            let _ = write!(text, "{} ", this.name);
            let fields = this.fields.iter().map(|(name, kind)| (*name, kind));
            list(text, ('{', '}'), fields, from, claims)
        }
        Kind::Option(some) => match from.take() {
            0 => write!(text, "None"),
            _ => wrapped(text, "Some", some, from, claims),
        },
        Kind::Result(ok, err) => match from.take() {
            0 => wrapped(text, "Ok", ok, from, claims),
            _ => wrapped(text, "Err", err, from, claims),
        },
        Kind::Refusal => match Refusal::load(from) {
            Ok(refusal) => write!(text, "{refusal:?}"),
            Err(malformed) => write!(text, "{:#x}", malformed.word),
        },
        // Unsigned integers, and whatever else is one word.
        _ => write!(text, "{}", from.take()),
    };
    from.skip_to(end);
}

fn wrapped(
    text: &mut String,
    name: &str,
    kind: &Kind,
    from: &mut Reader<'_>,
    claims: &Claims<'_>,
) -> std::fmt::Result {
    write!(text, "{name}(")?;
    value(text, kind, from, claims);
    write!(text, ")")
}

fn list<'k>(
    text: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = (&'k str, &'k Kind)>,
    from: &mut Reader<'_>,
    claims: &Claims<'_>,
) -> std::fmt::Result {
    text.push(open);
    for (i, (name, kind)) in items.enumerate() {
        write!(text, "{}{name}", if i > 0 { ", " } else { "" })?;
        text.push_str(if name.is_empty() { "" } else { ": " });
        value(text, kind, from, claims);
    }
    text.push(close);
    Ok(())
}

/// What an address and a size lead to; control characters are escaped.
fn bytes(
    text: &mut String,
    kind: &Kind,
    (address, size): (u64, u64),
    claims: &Claims<'_>,
) -> std::fmt::Result {
    let Ok(start) = claims.read(address, size.min(SHOWN)) else {
        return write!(text, "{size} bytes at {address:#x}, not readable");
    };
    let more = if size > SHOWN { " ..." } else { "" };
    if matches!(kind, Kind::Text) {
        return write!(text, "{:?}{more}", String::from_utf8_lossy(&start));
    }
    write!(text, "{size} bytes")?;
    for byte in start {
        write!(text, " {byte:02x}")?;
    }
    text.push_str(more);
    Ok(())
}
