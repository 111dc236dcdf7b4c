//! Whether a test passed, by how its call ended.

use crate::list::Test;
use inspect::printable;
use portcall::{CallError, End};

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// It did not; what is to be said of it beside what the end's explanation says.
    Failed {
        /// A line or more, or nothing.
        why: String,
        /// Whether the end is worth an explanation: where, and how the guest got there.
        explain: bool,
    },
}

impl Verdict {
    fn failed(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into(), explain: false }
    }
}

/// What a call's result means. An error is the host's, and says nothing of the test.
pub(crate) fn judge(
    test: &Test,
    called: Result<Result<u32, abi::calls::Refusal>, CallError>,
) -> Result<Verdict, portcall::Error> {
    let ended = match called {
        Ok(Ok(0)) if test.should_panic.is_some() => {
            return Ok(Verdict::failed("note: test did not panic as expected"));
        }
        Ok(Ok(0)) => return Ok(Verdict::Passed),
        // The guest has printed the error, if it is one.
        Ok(Ok(code)) => return Ok(Verdict::failed(format!("the test returned exit code {code}"))),
        Ok(Err(refusal)) => {
            return Ok(Verdict::failed(format!("the guest refuses to run it: {refusal}")));
        }
        Err(CallError::Host(error)) => return Err(error),
        Err(CallError::Ended(end)) => end,
        Err(other) => return Ok(Verdict::failed(printable(&other.to_string()))),
    };
    let explained = |why: &str| Verdict::Failed { why: why.to_owned(), explain: true };
    Ok(match (&ended, &test.should_panic) {
        (End::Panicked { message, .. }, Some(expected)) if message.contains(expected.as_str()) => {
            Verdict::Passed
        }
        (End::Panicked { message, .. }, Some(expected)) => explained(&format!(
            "note: panic did not contain expected string\n      panic message: \"{}\"\n expected \
             substring: \"{}\"",
            printable(message),
            printable(expected),
        )),
        (End::Panicked { .. }, None) => explained(""),
        (End::Exited(code), _) => explained(&format!(
            "the test ended the guest, by exit code {code}, in place of returning"
        )),
        (End::Halted, _) => explained("the test halted the guest, in place of returning"),
        (_, Some(_)) => explained("note: test did not panic as expected, but ended in another way"),
        _ => explained(""),
    })
}
