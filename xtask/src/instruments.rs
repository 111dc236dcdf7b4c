//! Which words for `portcall` ask for what is built in only then: gdb's stub, flame graphs, coverage,
//! the page of a run. They take long to compile, and most runs want none of them.

use std::ffi::OsString;

/// What `--emit` has of them.
const KINDS: [&str; 3] = ["profile", "coverage", "report"];

/// Whether the words ask for one of them.
pub(crate) fn are_wanted(words: &[OsString]) -> bool {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let is_kind = |text: &str| KINDS.contains(&text.split('=').next().unwrap_or_default());
    words.iter().enumerate().any(|(i, word)| match word.strip_prefix("--emit") {
        Some("") => words.get(i + 1).is_some_and(|next| is_kind(next)),
        Some(rest) => rest.strip_prefix('=').is_some_and(is_kind),
        None => word == "--gdb" || word.starts_with("--gdb="),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_ask_is_seen_and_nothing_else_is() {
        let wanted = |text: &str| {
            are_wanted(&text.split_whitespace().map(OsString::from).collect::<Vec<_>>())
        };
        for text in [
            "--gdb",
            "--steps --gdb=1234 --quiet",
            "--emit profile=a.svg",
            "--emit=coverage=a",
            "--emit json --emit report",
        ] {
            assert!(wanted(text), "{text}");
        }
        for text in ["", "--emit", "--emit json=profile", "--emit trace=a --expect rax=1", "gdb"] {
            assert!(!wanted(text), "{text}");
        }
    }
}
