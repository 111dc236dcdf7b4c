//! What the binary said, for the tests of its command line.

use std::process::Output;

/// What a run of the binary said on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks a run's process code, and that it said all of these.
#[track_caller]
pub(crate) fn assert_says(output: &Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}
