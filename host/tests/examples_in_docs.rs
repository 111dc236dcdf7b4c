//! Each type that a user of this library meets, that is each that its root names, shows in its
//! documentation how it is used.

use std::fs;
use std::path::{Path, PathBuf};

/// Those that have none, and why.
const WITHOUT: [(&str, &str); 2] = [
    ("Parts", "the module explains it, by the functions that give and take it"),
    ("Tape", "what records and replays is a crate of its own, whose documentation shows it"),
];

#[test]
fn every_type_of_the_root_has_an_example() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = fs::read_to_string(source.join("lib.rs")).expect("readable");
    let files = files(&source);
    let mut without = Vec::new();
    let mut count = 0;
    for name in root.lines().flat_map(names) {
        count += 1;
        if !files.iter().any(|text| has_example(text, name)) {
            without.push(name);
        }
    }
    assert!(count > 30, "only {count} names are found: is the root written in another way now?");
    assert_eq!(without, WITHOUT.map(|(name, _)| name), "types without an example");
}

/// The types in a line `pub use module::{A, B};`.
fn names(line: &str) -> Vec<&str> {
    let Some(path) = line.strip_prefix("pub use ").and_then(|it| it.strip_suffix(';')) else {
        return Vec::new();
    };
    let (_, last) = path.split_once("::").unwrap_or(("", path));
    let names = last.trim_matches(['{', '}']).split(", ");
    names.filter(|it| it.starts_with(|first: char| first.is_ascii_uppercase())).collect()
}

/// Whether that file defines the type, behind documentation with a block of code.
fn has_example(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let is_it = |line: &str| {
        ["struct", "enum", "trait"].iter().any(|kind| {
            let rest = line.strip_prefix("pub ").and_then(|it| it.strip_prefix(kind));
            let rest =
                rest.and_then(|it| it.strip_prefix(' ')).and_then(|it| it.strip_prefix(name));
            rest.is_some_and(|it| !it.starts_with(|next: char| next.is_alphanumeric()))
        })
    };
    // What is a module's one idea may be shown where the module is explained.
    let header: Vec<&&str> = lines.iter().take_while(|it| it.starts_with("//!")).collect();
    let shown_above = header.iter().any(|it| it.contains("```"))
        && header.iter().any(|it| it.starts_with("//! use ") && it.contains(name));
    lines.iter().enumerate().filter(|(_, line)| is_it(line)).any(|(at, _)| {
        if shown_above {
            return true;
        }
        let above = lines[..at].iter().rev().skip_while(|it| !it.starts_with("///"));
        above.take_while(|it| it.starts_with("///")).any(|it| it.contains("```"))
    })
}

/// The texts of all files beneath a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().expect("a folder").map(|it| it.expect("readable").path());
    let entries: Vec<PathBuf> = entries.collect();
    let own = entries.iter().filter(|it| it.is_file());
    let own = own.map(|it| fs::read_to_string(it).expect("text"));
    own.chain(entries.iter().filter(|it| it.is_dir()).flat_map(|it| files(it))).collect()
}
