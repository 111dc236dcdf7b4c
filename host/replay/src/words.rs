//! Exits in words: what was expected, and what there was.

use crate::entry::{Asked, Done, Entry, SHOWN};
use abi::calls::{interface_of, method_of};
use abi::port;
use portcall::exit::{Mmio, Msr};
use portcall::note::NotedInterface;
use portcall::tape::What;
use portcall::{End, Exception, Gpa, Guest};

/// A recorded exit.
pub(crate) fn asked(asked: &Asked, done: &[Done], notes: &[NotedInterface]) -> String {
    match asked {
        Asked::In { port, width, count, .. } => access("in", *port, *width, *count),
        Asked::Out { port, width, count, written, .. } => {
            access("out", *port, *width, *count) + &value(written)
        }
        Asked::Call { number, words } => {
            // What the host read of the guest's, one argument after the other.
            let mut reads = done.iter().filter_map(|done| match done {
                Done::Read { size, start, .. } => Some((*size, start)),
                _ => None,
            });
            let read = |_, size: u64| {
                let (mut start, mut found) = (Vec::new(), 0);
                while found < size {
                    let (piece, begin) = reads.next()?;
                    // Those of a page and less are whole only up to what is kept of them.
                    if start.len() as u64 == found {
                        start.extend_from_slice(begin);
                    }
                    found = found.saturating_add(piece);
                }
                start.truncate(SHOWN);
                Some(start)
            };
            call(*number, words, notes, read)
        }
        Asked::Other(text) => text.clone(),
        Asked::Mmio(gpa, size, write) => {
            Mmio { gpa: *gpa, size: u32::from(*size), write: *write }.to_string()
        }
        Asked::Msr(index, write) => Msr { index: *index, write: *write }.to_string(),
    }
}

/// An exit of a guest that waits for its answer.
pub(crate) fn what(what: &What<'_>, guest: &Guest<'_>, notes: &[NotedInterface]) -> String {
    match what {
        What::Call { number, words, .. } => {
            let claims = guest.claims();
            let read = |address, size: u64| claims.read(address, size.min(SHOWN as u64)).ok();
            call(*number, *words, notes, read)
        }
        other => asked(&Asked::new(other), &[], notes),
    }
}

/// Two exits by what they differ in, where that is beyond what is told of them.
pub(crate) fn asked_apart(asked: &Asked, what: &What<'_>) -> Option<(String, String)> {
    match (asked, Asked::new(what)) {
        (Asked::Out { written, .. }, Asked::Out { written: now, .. }) => {
            let (i, (old, new)) = (0..).zip(written.iter().zip(&now)).find(|(_, (a, b))| a != b)?;
            Some((format!("byte {i} {old:#04x}"), format!("byte {i} {new:#04x}")))
        }
        (Asked::Call { words, .. }, Asked::Call { words: now, .. }) => {
            let (i, (old, new)) = (0..).zip(words.iter().zip(&now)).find(|(_, (a, b))| a != b)?;
            Some((format!("word {i} {old:#x}"), format!("word {i} {new:#x}")))
        }
        _ => None,
    }
}

/// Two ends that differ; by their fields, where they read the same.
pub(crate) fn ends(expected: &End, actual: &End) -> (String, String) {
    let told = (expected.to_string(), actual.to_string());
    if told.0 != told.1 {
        return told;
    }
    let (End::Exception(old), End::Exception(new)) = (expected, actual) else {
        return (format!("{expected:?}"), format!("{actual:?}"));
    };
    let fields = |it: &Exception| {
        let (cs, ss) = (it.cs.into(), it.ss.into());
        [("CS", cs), ("RFLAGS", it.rflags), ("RSP", it.rsp.0), ("SS", ss)]
    };
    let apart = |of: &Exception, other: &Exception| {
        let pairs = fields(of).into_iter().zip(fields(other)).filter(|(a, b)| a != b);
        pairs.map(|((name, value), _)| format!("{name} {value:#x}")).collect::<Vec<_>>().join(", ")
    };
    (format!("{} with {}", told.0, apart(old, new)), format!("{} with {}", told.1, apart(new, old)))
}

/// What a log has next.
pub(crate) fn next(entry: Option<&Entry>, notes: &[NotedInterface]) -> String {
    match entry {
        Some(Entry::Exit(exit, _, done, ..)) => asked(exit, done, notes),
        Some(Entry::End(end, _)) => end.to_string(),
        _ => "the end of the log".to_owned(),
    }
}

/// So many bytes that the host read.
pub(crate) fn read(at: Gpa, size: u64, start: &[u8]) -> String {
    format!("{} at guest-physical {at}", bytes(size, start))
}

fn bytes(size: u64, start: &[u8]) -> String {
    let more = if size > start.len() as u64 { " ..." } else { "" };
    let start: String = start.iter().map(|byte| format!(" {byte:02x}")).collect();
    format!("{size} byte{}{start}{more}", if size == 1 { "" } else { "s" })
}

fn access(how: &str, number: u16, width: u8, count: u32) -> String {
    let name = match number {
        port::FLUSH => " (flush)",
        port::CONSOLE => " (console)",
        port::INPUT => " (input)",
        port::EXIT => " (exit)",
        port::PANIC => " (panic)",
        port::EXCEPTION => " (exception)",
        port::CALL => " (call)",
        port::SERVE => " (serve)",
        _ => "",
    };
    let plural = if width == 1 { "" } else { "s" };
    let times = if count == 1 { String::new() } else { format!(", {count} times") };
    format!("{how} port {number:#x}{name}, {width} byte{plural}{times}")
}

/// What is written: a number where it is one, else bytes.
fn value(written: &[u8]) -> String {
    match *written {
        [] => String::new(),
        [a] => format!(": {a:#x}"),
        [a, b] => format!(": {:#x}", u16::from_le_bytes([a, b])),
        [a, b, c, d] => format!(": {:#x}", u32::from_le_bytes([a, b, c, d])),
        ref all => format!(": {}", bytes(all.len() as u64, &all[..all.len().min(SHOWN)])),
    }
}

/// A call as the image has it: `Store::put(key: "a", value: 3 bytes 78 79 7a)`; by its words
/// where it has arguments that only its definition could tell.
fn call(
    number: u32,
    words: &[u64],
    notes: &[NotedInterface],
    read: impl FnMut(u64, u64) -> Option<Vec<u8>>,
) -> String {
    let (id, method) = (interface_of(number), method_of(number));
    let noted = notes.iter().find(|noted| noted.id() == id);
    let text = noted.and_then(|noted| Some((noted, noted.methods.get(method as usize)?)));
    let Some((interface, text)) = text else {
        return format!("call {number:#x}{}", plain(words));
    };
    let name = text.split('(').next().unwrap_or_default();
    let arguments = arguments(text, words, read).unwrap_or_else(|| plain(words));
    format!("{}::{name}{arguments}", interface.name)
}

fn plain(words: &[u64]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:#x}")).collect();
    format!("({})", words.join(", "))
}

/// The arguments by the text of the definition, where all are numbers, texts and bytes.
fn arguments(
    text: &str,
    words: &[u64],
    mut read: impl FnMut(u64, u64) -> Option<Vec<u8>>,
) -> Option<String> {
    let list = text.split_once('(')?.1;
    let list = list.split_once(") -> ").map_or_else(|| list.strip_suffix(')'), |it| Some(it.0))?;
    let mut words = words.iter().copied();
    let mut told = Vec::new();
    for argument in list.split(", ").filter(|argument| !argument.is_empty()) {
        let (name, kind) = argument.split_once(": ")?;
        let word = words.next()?;
        let value = match kind {
            "u8" | "u16" | "u32" | "u64" => word.to_string(),
            "i8" | "i16" | "i32" | "i64" => word.cast_signed().to_string(),
            "bool" => (word != 0).to_string(),
            "&str" | "&[u8]" => {
                let size = words.next()?;
                match read(word, size) {
                    None => format!(
                        "{} at {word:#x}, not readable",
                        bytes(size, &[]).trim_end_matches(" ...")
                    ),
                    Some(start) if kind == "&str" => {
                        let more = if size > start.len() as u64 { " ..." } else { "" };
                        format!("{:?}{more}", String::from_utf8_lossy(&start))
                    }
                    Some(start) => bytes(size, &start),
                }
            }
            "&mut [u8]" => format!("{} bytes to fill", words.next()?),
            _ => return None,
        };
        told.push(format!("{name}: {value}"));
    }
    Some(format!("({})", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::{asked, asked_apart, call, ends};
    use crate::entry::{Asked, Done};
    use portcall::note::NotedInterface;
    use portcall::tape::What;
    use portcall::{End, Exception, Gpa, Gva, Place};

    fn notes() -> Vec<NotedInterface> {
        let interface = &calls::store::INTERFACE;
        let methods = interface.methods.iter().map(ToString::to_string);
        let mut methods: Vec<String> = methods.collect();
        methods.push("odd(deep: Option<&str>, more: u64)".to_owned());
        methods.push("sum(a: i8, b: u64, c: bool)".to_owned());
        vec![NotedInterface { name: interface.name.to_owned(), methods }]
    }

    fn recorded(method: u32, words: &[u64], reads: &[&[u8]]) -> String {
        let number = calls::store::INTERFACE.number(method);
        let read = |bytes: &&[u8]| {
            let start = bytes[..bytes.len().min(32)].to_vec();
            Done::Read { at: Gpa(0), size: bytes.len() as u64, sum: 0, start }
        };
        let done: Vec<Done> = reads.iter().map(read).collect();
        asked(&Asked::Call { number, words: words.to_vec() }, &done, &notes())
    }

    #[test]
    fn a_recorded_call_reads_as_its_definition() {
        let put = recorded(0, &[1, 1, 2, 3], &[b"a", b"xyz"]);
        assert_eq!(put, r#"Store::put(key: "a", value: 3 bytes 78 79 7a)"#);
        // A key that reaches into another page, and a value of which only the start is kept.
        let put = recorded(0, &[1, 4, 2, 40], &[b"ke", b"ys", &[7; 40]]);
        assert!(put.starts_with(r#"Store::put(key: "keys", value: 40 bytes 07 07"#), "{put}");
        assert!(put.ends_with("07 ...)"), "{put}");
        let sum = recorded(5, &[u64::MAX, 7, 1], &[]);
        assert_eq!(sum, "Store::sum(a: -1, b: 7, c: true)");
    }

    #[test]
    fn ends_that_read_the_same_are_told_by_their_fields() {
        let place = |line| Some(Place { file: "a".to_owned(), line, column: 1 });
        let fault = Exception {
            vector: 6,
            error_code: None,
            rip: Gva(0x10_0000),
            cs: 0x33,
            rflags: 0x1_0002,
            rsp: Gva(0x2000),
            ss: 0x2b,
            cr2: None,
        };
        let other = End::Exception(Exception { rflags: 0x102, rsp: Gva(0x1ff8), ..fault });
        let (expected, actual) = ends(&End::Exception(fault), &other);
        assert!(expected.ends_with("0x100000 with RFLAGS 0x10002, RSP 0x2000"), "{expected}");
        assert!(actual.ends_with("0x100000 with RFLAGS 0x102, RSP 0x1ff8"), "{actual}");
        let (expected, actual) = ends(&End::Exited(1), &End::Exited(2));
        assert_eq!((expected, actual), (End::Exited(1).to_string(), End::Exited(2).to_string()));
        let panicked = |at| End::Panicked { message: "no".to_owned(), at };
        let (expected, actual) = ends(&panicked(place(1)), &panicked(place(2)));
        assert_ne!(expected, actual);
    }

    #[test]
    fn exits_that_read_the_same_are_told_by_what_is_behind_it() {
        fn out(written: &[u8]) -> What<'_> {
            let (port, width, count) = (0x30, 1, 64);
            What::Port { port, width, count, written: Some(written), by_host: false }
        }
        let (mut old, new) = ([7; 64], [7; 64]);
        assert!(asked_apart(&Asked::new(&out(&old)), &out(&new)).is_none());
        old[63] = 8;
        let told = asked_apart(&Asked::new(&out(&old)), &out(&new)).expect("they differ");
        assert_eq!(told, ("byte 63 0x08".to_owned(), "byte 63 0x07".to_owned()));
    }

    #[test]
    fn what_cannot_be_told_is_words() {
        assert_eq!(
            recorded(0, &[0x10, 1, 2, 3], &[]),
            "Store::put(key: 1 byte at 0x10, not readable, value: 3 bytes at 0x2, not readable)"
        );
        assert_eq!(recorded(4, &[1, 2, 3, 4], &[]), "Store::odd(0x1, 0x2, 0x3, 0x4)");
        assert_eq!(call(0x99, &[1], &[], |_, _| None), "call 0x99(0x1)");
    }
}
