//! The tests of an image, by its notes: no KVM, no run.
//!
//! An image may be hostile: texts are bounded, and have no control characters; addresses are the
//! guest's own business, whose function it is that is called.

use abi::note::TYPE_ENTRY;
use abi::tests::{Entry, IGNORED, SHOULD_PANIC, TEST};
use portcall::{Gva, Image};
use std::time::Duration;

/// The most tests that an image may have.
const MOST: usize = 1 << 16;

/// A test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Modules and name, without the crate's.
    pub name: String,
    /// Whether it is left out, unless it is asked for; why, or an empty text.
    pub ignored: Option<String>,
    /// Whether it is to panic; a part of the message, or an empty text.
    pub should_panic: Option<String>,
    /// How long it may take, if it says so.
    pub timeout: Option<Duration>,
    /// Where its entry is, by which it is called.
    pub entry: Gva,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListError {
    /// The image was not made to be asked.
    #[error(
        "it has no tests to call: it does not say `guest::tests!()`, in place of `guest::entry!`; \
         `portcall run` runs it"
    )]
    NotServed,
    /// An entry contradicts itself.
    #[error("its test {number} (from 0, in the ELF note at {at:?}) is damaged: {what}")]
    Damaged {
        /// Which one, in the order of the file.
        number: usize,
        /// Where its descriptor is.
        at: Gva,
        /// What is wrong.
        what: &'static str,
    },
    /// There are more than anyone writes.
    #[error("it has more than {MOST} tests; split it")]
    TooMany,
}

/// The tests of an image, by name, as libtest has them.
///
/// # Errors
/// The image answers no calls for tests; an entry is damaged; there are too many.
pub fn list(image: &Image<'_>) -> Result<Vec<Test>, ListError> {
    if !image.notes().serves.iter().any(|it| it.name == abi::tests::INTERFACE.name) {
        return Err(ListError::NotServed);
    }
    let mut tests = Vec::new();
    for (number, (at, descriptor)) in image.notes_of(TYPE_ENTRY).enumerate() {
        if number >= MOST {
            return Err(ListError::TooMany);
        }
        let read = match Entry::from_bytes(descriptor) {
            // Of another kind, for another program.
            Some(entry) if entry.kind != TEST => continue,
            Some(entry) => test(entry, at),
            None => Err("it is cut, or a text is not UTF-8"),
        };
        tests.push(read.map_err(|what| ListError::Damaged { number, at, what })?);
    }
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tests)
}

fn test(entry: Entry<'_>, at: Gva) -> Result<Test, &'static str> {
    if entry.name.is_empty() {
        return Err("it has no name");
    }
    // Names are lines of a list that programs read.
    if entry.name.chars().any(|it| portcall::printable(it) != it || it.is_whitespace()) {
        return Err("its name has a blank or a control character");
    }
    let shown = |text: &str| text.chars().map(portcall::printable).collect();
    let has = |flag| entry.flags & flag != 0;
    Ok(Test {
        name: entry.name.to_owned(),
        ignored: has(IGNORED).then(|| shown(entry.reason)),
        // Compared with what the guest says, and shown only behind that.
        should_panic: has(SHOULD_PANIC).then(|| entry.expected.to_owned()),
        timeout: (entry.timeout > 0).then(|| Duration::from_nanos(entry.timeout)),
        entry: at,
    })
}
