//! The `//@ KEY: VALUE` lines at the head of a guest program: how it is run, and what is
//! expected of it.

/// What a program's header says. Without directives a program gets no input and must end with
/// code 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Directives {
    /// `args: a b`: the guest's arguments.
    pub(crate) args: Vec<String>,
    /// `stdin: text\n`: its input; several lines of these follow each other.
    pub(crate) stdin: Vec<u8>,
    /// `expect: exit=101 rax=42`: passed on to `portcall --expect`, one by one.
    pub(crate) expect: Vec<String>,
    /// `memory: 8MiB`.
    pub(crate) memory: Option<String>,
    /// `timeout: 2s`; a whole number, so that slow machines can be given a multiple of it.
    pub(crate) timeout: Option<String>,
    /// `ring: 3`.
    pub(crate) ring: Option<String>,
    /// `options: --flag x`: passed on to `portcall run`.
    pub(crate) options: Vec<String>,
    /// `host: NAME`: whose host half runs it, if not the one of its own name.
    pub(crate) host: Option<String>,
    /// `output: ignored`: what it prints is not compared with anything.
    pub(crate) output_ignored: bool,
    /// `replay: no`: it gives another result in every run, so a recording of it is not replayed.
    pub(crate) no_replay: bool,
    /// `build: cc -static -o $OUT $IN`: the command that builds it, if cargo does not.
    pub(crate) build: Vec<String>,
    /// `stderr: text`: what portcall must say, among other things.
    pub(crate) stderr: Vec<String>,
    /// `title: What to do`: an exercise's, in the table of a grading.
    pub(crate) title: Option<String>,
    /// `points: 3`: what an exercise is worth; 1 if it does not say.
    pub(crate) points: Option<u32>,
    /// `measures: NAME`: an exercise's guest must measure an operation of that name.
    pub(crate) measures: Vec<String>,
}

/// A line that is not a directive, though it looks like one.
#[derive(Debug, PartialEq)]
pub(crate) struct Wrong {
    /// The line's number, from 1.
    pub(crate) line: usize,
    /// What is wrong, and what to write.
    pub(crate) message: String,
}

const KEYS: &str = "args, stdin, expect, memory, timeout, ring, options, host, output, replay, \
                    build, stderr; title, points, measures of exercises";

/// The most points of one exercise, so that a sum of many has room.
const POINTS_MAX: u32 = 1000;

impl Directives {
    /// Reads the directives in a program's leading comments.
    pub(crate) fn parse(source: &str) -> Result<Self, Wrong> {
        let mut directives = Self::default();
        let mut in_header = true;
        for (index, line) in source.lines().enumerate() {
            in_header &= line.trim().is_empty() || line.starts_with("//");
            let Some(directive) = line.strip_prefix("//@") else { continue };
            let result = if in_header {
                directives.take(directive)
            } else {
                // Silence here would be a test that tests nothing.
                Err("a directive after the first line of code; move it to the top".to_owned())
            };
            result.map_err(|message| Wrong { line: index + 1, message })?;
        }
        Ok(directives)
    }

    /// The process code that the run must end with.
    pub(crate) fn code(&self) -> u8 {
        let exit = self.expect.iter().find_map(|it| it.strip_prefix("exit=")?.parse().ok());
        exit.unwrap_or(0)
    }

    /// Takes in one directive, given without its `//@`.
    fn take(&mut self, directive: &str) -> Result<(), String> {
        let (key, value) = directive
            .strip_prefix(' ')
            .and_then(|it| it.split_once(':'))
            .ok_or_else(|| format!("not a directive; write //@ KEY: VALUE, KEY one of {KEYS}"))?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        if value.trim().is_empty() {
            return Err(format!("`{key}` has no value; give one or leave the line out"));
        }
        match key {
            "args" => self.args.extend(words(value)),
            "stdin" => self.stdin.extend(unescape(value)?),
            "expect" => self.take_expect(value)?,
            "memory" => once(&mut self.memory, key, value)?,
            "timeout" => once(&mut self.timeout, key, value)?,
            "ring" => once(&mut self.ring, key, value)?,
            "host" => once(&mut self.host, key, value)?,
            "options" => self.options.extend(words(value)),
            "build" if self.build.is_empty() => self.build.extend(words(value)),
            "build" => return Err("a second `build`; one command must do".to_owned()),
            "output" if value.trim() == "ignored" => self.output_ignored = true,
            "output" => {
                return Err("`output` can only be `ignored`; otherwise NAME.out says it".to_owned());
            }
            "replay" if value.trim() == "no" => self.no_replay = true,
            "replay" => return Err("`replay` can only be `no`; it is done otherwise".to_owned()),
            "stderr" => self.stderr.push(value.trim().to_owned()),
            "title" => once(&mut self.title, key, value)?,
            "measures" => self.measures.push(value.trim().to_owned()),
            "points" if self.points.is_none() => self.points = Some(points(value.trim())?),
            "points" => return Err("a second `points`; say all of them in one".to_owned()),
            _ => return Err(format!("there is no directive `{key}`; there are {KEYS}")),
        }
        Ok(())
    }

    /// Takes in expectations; portcall knows their grammar, but `exit` is ours to check too.
    fn take_expect(&mut self, value: &str) -> Result<(), String> {
        for item in words(value) {
            if !item.contains(['=', '<', '>']) {
                return Err(format!("`{item}` is not an expectation; write KEY=VALUE"));
            }
            let exit = item.strip_prefix("exit").filter(|it| it.starts_with(['=', '!', '<', '>']));
            if let Some(code) = exit {
                if code.strip_prefix('=').is_none_or(|it| it.parse::<u8>().is_err()) {
                    return Err(format!("{item}: write exit=CODE, a process code from 0 to 255"));
                }
                if self.expect.iter().any(|it| it.starts_with("exit=")) {
                    return Err("a second `exit`; a run ends once".to_owned());
                }
            }
            self.expect.push(item);
        }
        Ok(())
    }
}

fn points(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|it| (1..=POINTS_MAX).contains(it));
    number.ok_or_else(|| format!("`points: {text}`: write a whole number from 1 to {POINTS_MAX}"))
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().map(str::to_owned)
}

/// Sets a value that a program has once.
fn once(slot: &mut Option<String>, key: &str, value: &str) -> Result<(), String> {
    match slot.replace(value.trim().to_owned()) {
        None => Ok(()),
        Some(first) => Err(format!("a second `{key}`; the first says {first}")),
    }
}

/// The bytes of a text with `\n`, `\r`, `\t`, `\0`, `\\` and `\x41` in it.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let byte = match chars.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                hex_byte(&digits).ok_or_else(|| format!("`\\x{digits}`: write two hex digits"))?
            }
            Some(other) => {
                return Err(format!("`\\{other}`: there are \\n \\r \\t \\0 \\\\ \\x41"));
            }
            None => return Err("a lone `\\` at the end; write \\\\ for one".to_owned()),
        };
        bytes.push(byte);
    }
    Ok(bytes)
}

/// The byte of exactly two hex digits.
pub(crate) fn hex_byte(digits: &str) -> Option<u8> {
    let all_hex = digits.len() == 2 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    all_hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(source: &str) -> Directives {
        Directives::parse(source).unwrap_or_else(|wrong| unreachable!("{wrong:?}"))
    }

    fn wrong(source: &str) -> (usize, String) {
        let Wrong { line, message } = Directives::parse(source).expect_err(source);
        (line, message)
    }

    #[test]
    fn every_key_is_read() {
        let source = "\
//! A guest.
//@ args: a  b

// A comment.
//@ args: c
//@ stdin: one\\n
//@ stdin:  two\\t\\x41\\\\
//@ expect: exit=101 rax=42
//@ expect: exits.port[0xe9]<=4
//@ memory: 8MiB
//@ timeout: 2s
//@ ring: 3
//@ options: --flag x
//@ host: other
//@ output: ignored
//@ replay: no
//@ build: cc -o $OUT $IN
//@ stderr: a page fault: at 0x0
//@ stderr: hello.rs:3
//@ title: Two  words
//@ points: 3
//@ measures: an OUT

#![no_std]
";
        let is = parsed(source);
        assert_eq!(is.args, ["a", "b", "c"]);
        assert_eq!(is.stdin, b"one\n two\tA\\");
        assert_eq!(is.expect, ["exit=101", "rax=42", "exits.port[0xe9]<=4"]);
        assert_eq!(is.memory.as_deref(), Some("8MiB"));
        assert_eq!(is.timeout.as_deref(), Some("2s"));
        assert_eq!(is.ring.as_deref(), Some("3"));
        assert_eq!(is.options, ["--flag", "x"]);
        assert_eq!(is.host.as_deref(), Some("other"));
        assert!(is.output_ignored);
        assert!(is.no_replay);
        assert_eq!(is.build, ["cc", "-o", "$OUT", "$IN"]);
        assert_eq!(is.stderr, ["a page fault: at 0x0", "hello.rs:3"]);
        assert_eq!((is.title.as_deref(), is.points), (Some("Two  words"), Some(3)));
        assert_eq!(is.measures, ["an OUT"]);
        assert_eq!(is.code(), 101);
    }

    #[test]
    fn no_directives_mean_code_0() {
        assert_eq!(parsed("//! Words.\n\nfn main() {}\n"), Directives::default());
        assert_eq!(parsed("").code(), 0);
        assert_eq!(parsed("//@ expect: rax=1 exits<9").code(), 0);
    }

    #[test]
    fn unknown_keys_and_shapes_are_errors_with_their_line() {
        let (line, message) = wrong("//! x\n//@ expects: exit=0\n");
        assert_eq!(line, 2);
        assert!(message.contains("no directive `expects`"), "{message}");
        for source in ["//@", "//@ args", "//@args: a", "//@ args:", "//@ args:  ", "//@ : a"] {
            assert_eq!(wrong(source).0, 1, "{source}");
        }
    }

    #[test]
    fn a_directive_after_code_is_an_error() {
        let (line, message) = wrong("//@ args: a\nuse x;\n//@ args: b\n");
        assert_eq!(line, 3);
        assert!(message.contains("move it to the top"), "{message}");
    }

    #[test]
    fn bad_values_are_errors() {
        for source in [
            "//@ stdin: \\q",
            "//@ stdin: \\",
            "//@ stdin: \\x4",
            "//@ stdin: \\x+4",
            "//@ stdin: \\xé1",
            "//@ output: x",
            "//@ replay: yes",
            "//@ expect: rax",
            "//@ expect: exit=ok",
            "//@ expect: exit=-1",
            "//@ expect: exit=256",
            "//@ expect: exit!=0",
            "//@ expect: exit=",
            "//@ points: 0",
            "//@ points: 1001",
            "//@ points: -1",
            "//@ points: many",
        ] {
            assert_eq!(wrong(source).0, 1, "{source}");
        }
        for source in [
            "//@ memory: 1MiB\n//@ memory: 2MiB",
            "//@ build: cc\n//@ build: cc",
            "//@ expect: exit=0\n//@ expect: exit=1",
            "//@ points: 1\n//@ points: 2",
        ] {
            assert_eq!(wrong(source).0, 2, "{source}");
        }
    }
}
