//! A line-based comparison of what a guest should have printed with what it did.

use std::fmt::Write;

/// Lines shown around a difference.
const CONTEXT: usize = 3;

/// Lines shown in all; a guest that prints the wrong thing often prints a lot of it.
const SHOWN_MAX: usize = 60;

/// Lines on both sides, multiplied, up to which the smallest difference is looked for.
const CELLS_MAX: usize = 1 << 22;

/// One line, and which side has it: ' ' both, '-' only expected, '+' only printed.
type Line<'a> = (char, &'a [u8]);

/// The differences, a line each, with their surroundings.
pub(crate) fn diff(expected: &[u8], printed: &[u8]) -> String {
    let lines = compare(&split(expected), &split(printed));
    let near = |index: usize| {
        let from = index.saturating_sub(CONTEXT);
        lines[from..lines.len().min(index + CONTEXT + 1)].iter().any(|(side, _)| *side != ' ')
    };
    let mut text = String::from("  (- expected, + printed)\n");
    let mut shown = 0;
    let mut skipped = false;
    for (index, (side, line)) in lines.iter().enumerate() {
        if !near(index) {
            skipped = true;
            continue;
        }
        if shown == SHOWN_MAX {
            let rest = lines.len() - index;
            // Writing to a String does not fail, here and below.
            let _ = writeln!(text, "  ... ({rest} more lines)");
            break;
        }
        if skipped {
            text.push_str("  ...\n");
            skipped = false;
        }
        let _ = writeln!(text, "  {side} {}", readable(line));
        shown += 1;
    }
    text
}

/// The lines with their line feeds, so that a missing last one is a difference.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// A line without its line feed, with what cannot be seen escaped.
fn readable(line: &[u8]) -> String {
    let (line, end) = match line.strip_suffix(b"\n") {
        Some(line) => (line, ""),
        None => (line, "  (no line feed)"),
    };
    let mut text = String::new();
    for chunk in line.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_control() && char != '\t' {
                text.extend(char.escape_default());
            } else {
                text.push(char);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text + end
}

/// All lines of both sides in order, by a longest common subsequence.
fn compare<'a>(expected: &[&'a [u8]], printed: &[&'a [u8]]) -> Vec<Line<'a>> {
    let head = expected.iter().zip(printed).take_while(|(a, b)| a == b).count();
    let (common, expected) = expected.split_at(head);
    let printed = &printed[head..];
    let tail = expected.iter().rev().zip(printed.iter().rev()).take_while(|(a, b)| a == b).count();
    let (expected, ending) = expected.split_at(expected.len() - tail);
    let printed = &printed[..printed.len() - tail];

    let mut lines: Vec<Line> = common.iter().map(|line| (' ', *line)).collect();
    if expected.len().saturating_mul(printed.len()) > CELLS_MAX {
        lines.extend(expected.iter().map(|line| ('-', *line)));
        lines.extend(printed.iter().map(|line| ('+', *line)));
    } else {
        subsequence(expected, printed, &mut lines);
    }
    lines.extend(ending.iter().map(|line| (' ', *line)));
    lines
}

/// Appends the lines of both sides, as many as possible of them in common.
fn subsequence<'a>(expected: &[&'a [u8]], printed: &[&'a [u8]], lines: &mut Vec<Line<'a>>) {
    let (rows, columns) = (expected.len(), printed.len());
    // length[i][j]: of the longest common subsequence of expected[i..] and printed[j..].
    let mut length = vec![vec![0_u32; columns + 1]; rows + 1];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            length[i][j] = if expected[i] == printed[j] {
                length[i + 1][j + 1] + 1
            } else {
                length[i + 1][j].max(length[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < rows || j < columns {
        if i < rows && j < columns && expected[i] == printed[j] {
            lines.push((' ', expected[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == columns || (i < rows && length[i + 1][j] >= length[i][j + 1]) {
            lines.push(('-', expected[i]));
            i += 1;
        } else {
            lines.push(('+', printed[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_is_shown_with_its_neighbours() {
        let expected = b"1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let printed = b"1\n2\n3\n4\nfive\n6\n7\n8\n9\n";
        assert_eq!(
            diff(expected, printed),
            "  (- expected, + printed)\n  ...\n    2\n    3\n    4\n  - 5\n  + five\n    6\n    7\n    8\n"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(diff(b"a\n", b"a"), "  (- expected, + printed)\n  - a\n  + a  (no line feed)\n");
        assert_eq!(diff(b"", b"\x1b\xff\n"), "  (- expected, + printed)\n  + \\u{1b}\\xff\n");
    }

    #[test]
    fn common_lines_stay_common() {
        let text = diff(b"a\nb\nc\n", b"b\nc\nd\n");
        assert_eq!(text, "  (- expected, + printed)\n  - a\n    b\n    c\n  + d\n");
    }

    #[test]
    fn a_long_difference_is_cut() {
        let many = "x\n".repeat(5000);
        let text = diff(b"y\n", many.as_bytes());
        assert!(text.ends_with("more lines)\n"), "{text}");
        assert_eq!(text.lines().count(), SHOWN_MAX + 2);
    }
}
