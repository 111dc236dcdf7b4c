//! The one error type: a message for a person.

use std::fmt::Display;
use std::path::Path;

/// What happened, to what, and what to do about it.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    /// From words.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// `deed` ("read", "write") could not be done to `path`.
    pub(crate) fn file(deed: &str, path: &Path, why: impl Display) -> Self {
        Self(format!("cannot {deed} {}: {why}", path.display()))
    }
}
