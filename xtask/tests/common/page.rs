//! Blocks of a page of the book that tests of their own run.

/// The block whose fence says `tested=FILE:NAME`.
pub(crate) fn block(page: &str, file: &str, name: &str) -> String {
    let mark = format!(",tested={file}:{name}\n");
    let (_, behind) = page.split_once(&mark).unwrap_or_else(|| panic!("no block says {mark}"));
    let (text, _) = behind.split_once("\n```").expect("the end of the block");
    format!("{text}\n")
}
