//! Blocks of a page of the book that tests of their own run.

/// The block whose fence says `tested=FILE:NAME`.
pub(crate) fn block(page: &str, file: &str, name: &str) -> String {
    let mark = format!(",tested={file}:{name}\n");
    let behind = page.split_once(&mark).map(|it| it.1);
    assert!(behind.is_some(), "no block says {mark}");
    let text = behind.and_then(|it| it.split_once("\n```")).expect("the end of the block").0;
    format!("{text}\n")
}
