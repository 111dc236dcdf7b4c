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
use portcall::{End, Gva, Image, Outcome, Vm, registers};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

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
        check(&key, &value)?;
        Ok(Self { key, op: *op, value, text: text.to_owned() })
    }
}

/// Refuses what could never be met, or never fail.
fn check(key: &Key, value: &Value) -> Result<(), String> {
    match (key, value) {
        (Key::End, Value::Text(name)) if !End::NAMES.contains(&name.as_str()) => {
            Err(format!("no end is called {name}; there are {}", End::NAMES.join(", ")))
        }
        (Key::Memory { width, .. }, Value::Number(value))
            if *width < 8 && value >> (8 * width) != 0 =>
        {
            Err(format!("{value} does not fit {width} bytes"))
        }
        (Key::Exit, Value::Number(code)) if *code > 255 => {
            Err(format!("a process code is at most 255, not {code}"))
        }
        (Key::Output, Value::Text(path)) if path.is_empty() => {
            Err("it names no file after =".to_owned())
        }
        _ => Ok(()),
    }
}

fn key(name: &str) -> Result<Key, String> {
    let bracketed = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix(']');
    if registers::by_name(&portcall::kvm_bindings::kvm_regs::default(), name).is_some() {
        return Ok(Key::Register(name.to_owned()));
    }
    for (prefix, width) in [("mem.u8[", 1), ("mem.u16[", 2), ("mem.u32[", 4), ("mem.u64[", 8)] {
        if let Some(place) = bracketed(prefix) {
            let place = place.trim();
            if place.is_empty() {
                return Err("it names no address or symbol in the brackets".to_owned());
            }
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
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return Err(format!("{text:?} is no number (decimal or 0x...)"));
    }
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
    pub(crate) output: Option<&'a OutputWatch>,
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

    fn output_is(&self, output: Option<&OutputWatch>) -> Result<(bool, String), String> {
        let Value::Text(path) = &self.value else { return Err("it names no file".to_owned()) };
        let differs = output.ok_or("nothing was watched")?.difference(path);
        let same = differs.is_none();
        let found = differs.unwrap_or_else(|| "it is the same".to_owned());
        Ok((same == matches!(self.op, Op::Eq), found))
    }

    /// The file that the output is compared with.
    fn output_file(&self) -> Option<&str> {
        match (&self.key, &self.value) {
            (Key::Output, Value::Text(path)) => Some(path),
            _ => None,
        }
    }
}

/// Compares the console's output with files as it comes, so that none of it is kept.
#[derive(Clone, Debug)]
pub(crate) struct OutputWatch(Arc<Mutex<Vec<Compared>>>);

#[derive(Debug)]
struct Compared {
    path: String,
    wanted: Vec<u8>,
    /// Bytes of output so far.
    came: usize,
    /// Bytes that were the same, up to the first that was not.
    same: usize,
}

impl OutputWatch {
    /// Reads the files that expectations name; `None` if there are none.
    pub(crate) fn of(expectations: &[Expectation]) -> Result<Option<Self>, String> {
        let mut compared = Vec::new();
        for path in expectations.iter().filter_map(Expectation::output_file) {
            let failed = |why: &dyn fmt::Display| format!("--expect output={path}: {why}");
            let metadata = std::fs::metadata(path).map_err(|error| failed(&error))?;
            if !metadata.is_file() {
                return Err(failed(&"it is no regular file"));
            }
            let wanted = std::fs::read(path).map_err(|error| failed(&error))?;
            compared.push(Compared { path: path.to_owned(), wanted, came: 0, same: 0 });
        }
        Ok((!compared.is_empty()).then(|| Self(Arc::new(Mutex::new(compared)))))
    }

    /// Takes in what was printed.
    pub(crate) fn take(&self, bytes: &[u8]) {
        for it in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if it.same == it.came {
                let rest = it.wanted.get(it.came..).unwrap_or_default();
                it.same += rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            }
            it.came += bytes.len();
        }
    }

    /// How the output differs from a file, or `None` where it does not.
    fn difference(&self, path: &str) -> Option<String> {
        let compared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let it = compared.iter().find(|it| it.path == path)?;
        if it.same == it.came && it.came == it.wanted.len() {
            return None;
        }
        let line = it.wanted[..it.same].iter().filter(|byte| **byte == b'\n').count() + 1;
        Some(format!("it differs from byte {} on, in line {line}", it.same))
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
    seen.vm.read_virtual(Gva(address), &mut bytes[..width]).map_err(|error| error.to_string())?;
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
            "end!=hatled",
            "mem.u8[x]!=300",
            "mem.u64[]=1",
            "mem.u64[ ]=1",
            "exit=256",
            "rax=+42",
            "rax=0x+2a",
            "output=",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
