//! Sessions in a terminal as documents show them: `$ command`, and below it what it prints. `...` in
//! a line of the output is any run of characters, and alone in its line any number of lines.

use crate::diff::diff;
use std::fmt::Write;

/// What stands where any text may.
const ANY: &str = "...";

/// What tells the outputs of two commands apart.
const MARK: &str = "\u{1}-- end of a command --\u{1}\n";

/// A command and what it prints.
#[derive(Debug, PartialEq)]
pub(crate) struct Command {
    /// The shell's line.
    line: String,
    /// What is said that it prints, on both streams.
    output: String,
}

/// The commands of a block.
pub(crate) fn commands(text: &str) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    for line in text.split_inclusive('\n') {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(line), _) => {
                commands.push(Command { line: line.trim_end().to_owned(), output: String::new() });
            }
            (None, Some(command)) => command.output.push_str(line),
            (None, None) => return Err("there is text before the first command, `$ ...`".into()),
        }
    }
    if commands.is_empty() { Err("a session without a command".into()) } else { Ok(commands) }
}

/// What one shell runs them by. `cargo xtask` is the program that runs this, which need not be built
/// for it once more.
pub(crate) fn script(commands: &[Command]) -> String {
    let mut script = String::from(
        "exec 2>&1\ncargo() { if [ \"$1\" = xtask ]; then shift; \"$XTASK\" \"$@\"; \
         else command cargo \"$@\"; fi; }\n",
    );
    for Command { line, .. } in commands {
        // The next command sees the code of this one, as `echo $?` does.
        // Writing to a String does not fail, here and below.
        let _ = write!(script, "{line}\n__code=$?\nprintf '%s' $'{MARK}'\n(exit $__code)\n");
    }
    script
}

/// Compares what the script printed with what stands in the document.
pub(crate) fn compare(commands: &[Command], printed: &str) -> Result<(), String> {
    let mut outputs = printed.split(MARK);
    let mut wrong = String::new();
    for Command { line, output } in commands {
        let printed = outputs.next().unwrap_or_default();
        let (wanted, given): (Vec<_>, Vec<_>) =
            (output.lines().collect(), printed.lines().collect());
        if all_match(&wanted, &given) {
            continue;
        }
        // Lines that are as they should be are shown as they should be.
        let shown = given.iter().map(|it| {
            let like = wanted.iter().find(|wanted| **wanted != ANY && is_like(wanted, it));
            format!("{}\n", like.unwrap_or(it))
        });
        let shown: String = shown.collect();
        let _ = write!(wrong, "$ {line}\n{}", diff(output.as_bytes(), shown.as_bytes()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("another output\n{wrong}")) }
}

/// Whether lines are those of a pattern, in which `...` alone is any number of lines.
fn all_match(pattern: &[&str], lines: &[&str]) -> bool {
    wild(pattern, lines, |it| *it == ANY, |pattern, line| is_like(pattern, line))
}

/// Whether a line is like a pattern, in which `...` is any run of characters.
fn is_like(pattern: &str, line: &str) -> bool {
    let Some((first, rest)) = pattern.split_once(ANY) else { return pattern == line };
    let Some(mut line) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split(ANY).collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match line.find(part) {
            Some(at) => line = &line[at + part.len()..],
            None => return false,
        }
    }
    line.ends_with(last)
}

/// The usual match with one kind of wildcard: where something does not fit, the last wildcard takes
/// one more.
fn wild<T>(
    pattern: &[T],
    text: &[T],
    any: impl Fn(&T) -> bool,
    fits: impl Fn(&T, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && any(&pattern[p]) {
            back = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && fits(&pattern[p], &text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((behind, from)) = back {
            (p, t) = (behind, from + 1);
            back = Some((behind, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_any_run_and_nothing_else_is() {
        for (pattern, line) in [
            ("a", "a"),
            ("a ... ms", "a 1.2 ms"),
            ("...", ""),
            ("(1 exit, ... ms) at ... end", "(1 exit, 3 ms) at 0x0 at the end"),
            ("... is ...", "this is it"),
            ("3 is ...", "3 is ..."),
        ] {
            assert!(is_like(pattern, line), "{pattern}: {line}");
        }
        for (pattern, line) in [
            ("a", "ab"),
            ("a...b", "a"),
            ("ab...b", "ab"),
            ("a...", "ba"),
            ("", "a"),
            ("a..b", "axb"),
        ] {
            assert!(!is_like(pattern, line), "{pattern}: {line}");
        }
        let matched = |pattern: &str, text: &str| {
            all_match(&pattern.lines().collect::<Vec<_>>(), &text.lines().collect::<Vec<_>>())
        };
        assert!(matched("a\n...\nb", "a\nb") && matched("a\n...\nb", "a\nx\nb\ny\nb"));
        assert!(matched("...\nx ...\n...", "1\nx 2\n3") && matched("...", ""));
        assert!(!matched("a\n...\nb", "a\nb\nc") && !matched("a", "a\nb") && !matched("a\nb", "a"));
    }

    #[test]
    fn a_session_is_run_by_one_shell_and_compared_command_by_command() {
        let text = "$ x=1; echo \"a $x\"; echo b >&2\na 1\nb\n$ (exit 3)\n$ echo $? '$x'\n3 $x\n";
        let session = commands(text).expect("well-formed");
        let run = |session: &[Command]| {
            let output = std::process::Command::new("bash").args(["-c", &script(session)]).output();
            String::from_utf8(output.expect("bash starts").stdout).expect("text")
        };
        assert_eq!(compare(&session, &run(&session)), Ok(()));
        let wrong = commands(&text.replace("\nb\n", "\nc\n")).expect("well-formed");
        let message = compare(&wrong, &run(&wrong)).expect_err("b is no c");
        assert!(message.contains("- c") && message.contains("+ b"), "{message}");
        assert!(!message.contains("exit 3"), "{message}");
        // What did not come to its end.
        let message = compare(&session, "").expect_err("nothing was printed");
        assert!(message.contains("- a 1"), "{message}");
    }
}
