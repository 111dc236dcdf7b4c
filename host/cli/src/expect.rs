//! `--expect`: one grammar for all that can be checked at the end of a run.
//!
//! ```text
//! KEY=VALUE   also with != <= >= < >; VALUE is decimal or 0x...
//!   rax ... r15 rip rflags      a register
//!   exit                        the process code, before expectations are looked at
//!   end                         the end's name: exited, halted, panicked, triple-fault, ...
//!   mem.u8 u16 u32 u64 [WHERE]  memory at a symbol or a guest-virtual address, also +OFFSET
//!   exits                       all exits
//!   exits.KIND                  in, out, mmio, hlt, ...
//!   exits.port[PORT]            exits on one port
//!   output                      a file that the console output must be equal to
//! ```

use crate::count::Counts;
use portcall::exit::ExitKind;
use portcall::{Gva, Image, Outcome, Vm, registers};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One `--expect`.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    key: Key,
    op: Op,
    value: Value,
    text: String,
}

#[derive(Clone, Debug)]
enum Key {
    Register(String),
    Exit,
    End,
    Memory { width: usize, place: String },
    Exits,
    ExitsOfKind(ExitKind),
    ExitsOnPort(u16),
    Output,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Ne,
    Le,
    Ge,
    Eq,
    Lt,
    Gt,
}

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Text(String),
}

/// The longer ones first, so that `<=` is not read as `<`.
const OPS: [(&str, Op); 6] =
    [("!=", Op::Ne), ("<=", Op::Le), (">=", Op::Ge), ("=", Op::Eq), ("<", Op::Lt), (">", Op::Gt)];

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The first operator in the text; a symbol's name in brackets may contain any of them.
        let from = text.find(']').unwrap_or(0);
        let found = (from..text.len()).filter(|at| text.is_char_boundary(*at)).find_map(|at| {
            OPS.iter().find(|(sign, _)| text[at..].starts_with(sign)).map(|found| (at, found))
        });
        let Some((at, (sign, op))) = found else {
            return Err("it is not KEY=VALUE (rax=42, exit=0, mem.u64[SYMBOL]=42, ...)".to_owned());
        };
        let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        let key = key(name)?;
        let takes_text = matches!(key, Key::End | Key::Output);
        if takes_text && !matches!(op, Op::Eq | Op::Ne) {
            return Err(format!("{name} is text: compare it with = or !="));
        }
        let value =
            if takes_text { Value::Text(value.to_owned()) } else { Value::Number(number(value)?) };
        Ok(Self { key, op: *op, value, text: text.to_owned() })
    }
}

fn key(name: &str) -> Result<Key, String> {
    let bracketed = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix(']');
    if registers::by_name(&portcall::kvm_bindings::kvm_regs::default(), name).is_some() {
        return Ok(Key::Register(name.to_owned()));
    }
    for (prefix, width) in [("mem.u8[", 1), ("mem.u16[", 2), ("mem.u32[", 4), ("mem.u64[", 8)] {
        if let Some(place) = bracketed(prefix) {
            return Ok(Key::Memory { width, place: place.to_owned() });
        }
    }
    if let Some(port) = bracketed("exits.port[") {
        let port = u16::try_from(number(port)?).map_err(|_| format!("{port} is no port"))?;
        return Ok(Key::ExitsOnPort(port));
    }
    if let Some(kind) = name.strip_prefix("exits.") {
        let found = ExitKind::ALL.into_iter().find(|known| known.name() == kind);
        return found.map(Key::ExitsOfKind).ok_or_else(|| {
            let known: Vec<_> = ExitKind::ALL.iter().map(|kind| kind.name()).collect();
            format!("no exits are called {kind}; there are {}", known.join(", "))
        });
    }
    match name {
        "exit" => Ok(Key::Exit),
        "end" => Ok(Key::End),
        "exits" => Ok(Key::Exits),
        "output" => Ok(Key::Output),
        _ => Err(format!(
            "{name} cannot be expected; there are rax ... r15, rip, rflags, exit, end, \
             mem.u8|u16|u32|u64[SYMBOL or ADDRESS], exits, exits.KIND, exits.port[PORT], output"
        )),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(&hex.replace('_', ""), 16),
        None => text.replace('_', "").parse(),
    };
    parsed.map_err(|_| format!("{text:?} is no number (decimal or 0x...) of 64 bits"))
}

/// All that an expectation may look at.
pub(crate) struct Seen<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) code: u8,
    pub(crate) counts: &'a Counts,
    pub(crate) image: &'a Image<'a>,
    pub(crate) vm: &'a Vm,
    pub(crate) output: &'a [u8],
}

impl Expectation {
    /// Whether it needs what [`Counts`] count.
    pub(crate) const fn counts(&self) -> bool {
        matches!(self.key, Key::ExitsOnPort(_))
    }

    /// Whether it may need the image's symbols.
    pub(crate) const fn symbols(&self) -> bool {
        matches!(self.key, Key::Memory { .. })
    }

    /// Whether it needs the console's output.
    pub(crate) const fn output(&self) -> bool {
        matches!(self.key, Key::Output)
    }

    /// What was found instead, or `None` where it is met.
    pub(crate) fn unmet(&self, seen: &Seen<'_>) -> Option<String> {
        match self.found(seen) {
            Ok((true, _)) => None,
            Ok((false, found)) | Err(found) => Some(found),
        }
    }

    /// Whether it is met, and what was found; `Err` where it cannot be looked at.
    fn found(&self, seen: &Seen<'_>) -> Result<(bool, String), String> {
        let number = match &self.key {
            Key::Register(name) => registers::by_name(&seen.outcome.registers, name)
                .ok_or_else(|| format!("there is no register {name}"))?,
            Key::Exit => u64::from(seen.code),
            Key::Exits => seen.outcome.stats.exits(),
            Key::ExitsOfKind(kind) => seen.outcome.stats.exits_of(*kind),
            Key::ExitsOnPort(port) => seen.counts.exits_on(*port),
            Key::Memory { width, place } => {
                let found = read(seen, place, *width)?;
                return Ok((self.holds(found), format!("it is {found} ({found:#x})")));
            }
            Key::End => {
                let name = seen.outcome.end.name();
                return Ok((self.is(name), format!("it is {name}")));
            }
            Key::Output => return self.output_is(seen.output),
        };
        let hexadecimal = matches!(self.key, Key::Register(_));
        let shown =
            if hexadecimal { format!("{number} ({number:#x})") } else { number.to_string() };
        Ok((self.holds(number), format!("it is {shown}")))
    }

    const fn holds(&self, found: u64) -> bool {
        let Value::Number(wanted) = self.value else { return false };
        match self.op {
            Op::Ne => found != wanted,
            Op::Le => found <= wanted,
            Op::Ge => found >= wanted,
            Op::Eq => found == wanted,
            Op::Lt => found < wanted,
            Op::Gt => found > wanted,
        }
    }

    fn is(&self, found: &str) -> bool {
        let same = matches!(&self.value, Value::Text(wanted) if wanted == found);
        same == matches!(self.op, Op::Eq)
    }

    fn output_is(&self, output: &[u8]) -> Result<(bool, String), String> {
        let Value::Text(path) = &self.value else { return Err("it names no file".to_owned()) };
        let path = PathBuf::from(path);
        let wanted = std::fs::read(&path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let same = wanted == output;
        let at = wanted.iter().zip(output).take_while(|(a, b)| a == b).count();
        let line = output[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        let found = if same {
            "it is the same".to_owned()
        } else {
            format!("it differs from byte {at} on, in line {line}")
        };
        Ok((same == matches!(self.op, Op::Eq), found))
    }
}

/// Memory at `SYMBOL`, `ADDRESS`, or either `+OFFSET`.
fn read(seen: &Seen<'_>, place: &str, width: usize) -> Result<u64, String> {
    let symbol = |name: &str| seen.image.symbol(name).map(|symbol| symbol.address.0);
    let find = |name: &str| match name.strip_prefix("0x") {
        Some(_) => number(name).ok(),
        None => symbol(name),
    };
    // A whole name first: C++ symbols may have a plus in them.
    let address = find(place).or_else(|| {
        let (base, offset) = place.rsplit_once('+')?;
        find(base)?.checked_add(number(offset).ok()?)
    });
    let address = address.ok_or_else(|| {
        format!(
            "{place} is neither an address (0x...) nor a symbol of the image; in Rust, give the \
             static #[unsafe(no_mangle)], and link without stripping"
        )
    })?;
    let mut bytes = [0; 8];
    seen.vm.read(Gva(address), &mut bytes[..width]).map_err(|error| error.to_string())?;
    Ok(u64::from_le_bytes(bytes))
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Expectation, Key, Op, Value};

    fn parse(text: &str) -> Result<Expectation, String> {
        text.parse()
    }

    #[test]
    fn every_form_of_the_grammar_is_read() {
        for text in [
            "rax=42",
            "r15!=0x2a",
            "exit=0",
            "end=halted",
            "mem.u64[ANSWER]=42",
            "mem.u8[0x100000+4]<3",
            "mem.u32[operator<=>]>=1",
            "output=some/file=name",
            "exits<=4",
            "exits.mmio=0",
            "exits.port[0xe9] <= 4",
        ] {
            parse(text).expect(text);
        }
        let port = parse("exits.port[0xe9]<=4").expect("read");
        assert!(matches!(port.key, Key::ExitsOnPort(0xe9)));
        assert!(matches!(port.op, Op::Le));
        assert!(matches!(port.value, Value::Number(4)));
    }

    #[test]
    fn what_is_not_of_the_grammar_is_refused() {
        for text in [
            "",
            "rax",
            "=42",
            "rax=",
            "rax=forty",
            "rax=0x1_0000_0000_0000_0000",
            "eax=1",
            "mem.u24[x]=1",
            "exits.port[65536]=1",
            "exits.vmcall=1",
            "end<halted",
            "é=1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
