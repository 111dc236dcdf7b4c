//! The functions of an image that can be fuzzed, by its notes: no KVM, no run.

use abi::note::TYPE_ENTRY;
use abi::tests::{Entry, FUZZ};
use portcall::{Gva, Image};
use std::time::Duration;

/// The most of them that an image may have.
const MOST: usize = 1 << 12;

/// A function that can be fuzzed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Modules and name, without the crate's.
    pub name: String,
    /// How long one input may take, if it says so.
    pub timeout: Option<Duration>,
    /// Where its entry is, by which it is called.
    pub entry: Gva,
}

/// Why there is none to fuzz.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// The image was not made to be asked.
    #[error(
        "nothing in it can be fuzzed: it does not say `guest::tests!()`, in place of \
         `guest::entry!`; `portcall run` runs it"
    )]
    NotServed,
    /// It has none.
    #[error("nothing in it can be fuzzed: no function has `#[guest::fuzz]`")]
    None,
    /// An entry contradicts itself.
    #[error("the ELF note at {at:?} of a function to fuzz is damaged: {what}")]
    Damaged {
        /// Where its descriptor is.
        at: Gva,
        /// What is wrong.
        what: &'static str,
    },
    /// There are more than anyone writes.
    #[error("it has more than {MOST} functions to fuzz; split it")]
    TooMany,
    /// It has several, and none was named.
    #[error("it has several functions to fuzz; name one by --target: {}", .0.join(", "))]
    Several(Vec<String>),
    /// It has none of that name.
    #[error("it has no function `{name}` to fuzz; there is {}", .there.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        there: Vec<String>,
    },
}

/// The functions of an image that can be fuzzed, by name.
///
/// # Errors
/// The image answers no such calls; an entry is damaged; there are too many.
pub fn targets(image: &Image<'_>) -> Result<Vec<Target>, TargetError> {
    if !image.notes().serves.iter().any(|it| it.name == abi::tests::INTERFACE.name) {
        return Err(TargetError::NotServed);
    }
    let mut targets = Vec::new();
    for (at, descriptor) in image.notes_of(TYPE_ENTRY) {
        let damaged = |what| TargetError::Damaged { at, what };
        let entry = Entry::from_bytes(descriptor);
        let entry = entry.ok_or(damaged("it is cut, or a text is not UTF-8"))?;
        if entry.kind != FUZZ {
            continue;
        }
        let is_plain = |it: char| portcall::printable(it) == it && !it.is_whitespace();
        if entry.name.is_empty() || !entry.name.chars().all(is_plain) {
            return Err(damaged("its name is empty, or has a blank or a control character"));
        }
        if targets.len() == MOST {
            return Err(TargetError::TooMany);
        }
        let timeout = (entry.timeout > 0).then(|| Duration::from_nanos(entry.timeout));
        targets.push(Target { name: entry.name.to_owned(), timeout, entry: at });
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

/// The one that is meant: of this name, or the only one.
///
/// # Errors
/// There is none of that name; there are several, and none was named; [`targets`].
pub fn target(image: &Image<'_>, name: Option<&str>) -> Result<Target, TargetError> {
    let mut targets = targets(image)?;
    let names = |all: &[Target]| all.iter().map(|it| it.name.clone()).collect();
    match (name, targets.len()) {
        (_, 0) => Err(TargetError::None),
        (None, 1) => Ok(targets.remove(0)),
        (None, _) => Err(TargetError::Several(names(&targets))),
        (Some(name), _) => match targets.iter().position(|it| it.name == name) {
            Some(place) => Ok(targets.swap_remove(place)),
            None => Err(TargetError::Unknown { name: name.to_owned(), there: names(&targets) }),
        },
    }
}
