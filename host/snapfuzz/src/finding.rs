//! What an input found, and how findings are told apart: by the kind of end and its place.

use inspect::{Explanation, Frame};
use portcall::{End, Limit, Outcome};

/// An input that ends the guest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The kind of end, and a number that the same finding has in every run: a file's name.
    pub name: String,
    /// The input, as small as it got.
    pub input: Vec<u8>,
    /// How many bytes it had when it was found.
    pub found: usize,
    /// What happened, where, and how the guest got there.
    pub explanation: Explanation,
    /// What the guest printed.
    pub printed: Vec<u8>,
    /// What came of it the second time, in a VM without breakpoints, if that was something else. It
    /// is as it was found then.
    pub differs: Option<String>,
}

/// The kind of an end.
pub(crate) const fn kind(end: &End) -> &'static str {
    match end {
        End::Panicked { .. } => "panic",
        End::LimitReached(Limit::Time(_)) => "timeout",
        End::LimitReached(Limit::Console(_)) => "output",
        end => end.name(),
    }
}

/// Where an end is, by what it costs nothing to know. Two findings may have the same, when a function
/// that fails has several callers.
pub(crate) fn place(outcome: &Outcome) -> String {
    let (kind, rip) = (kind(&outcome.end), outcome.registers.rip);
    match &outcome.end {
        End::Panicked { at: Some(at), .. } => {
            format!("{kind} {}:{}:{}", at.file, at.line, at.column)
        }
        // Wherever a loop is when its time is over.
        End::LimitReached(_) => kind.to_owned(),
        End::Exited(code) => format!("{kind} {code}"),
        End::Exception(exception) => format!("{kind} {} {rip:#x}", exception.vector),
        _ => format!("{kind} {rip:#x}"),
    }
}

/// How findings are told apart: the innermost functions that are not the toolchain's, with their
/// lines; of a loop the outermost, since it may be anywhere in what these call.
pub(crate) fn key(end: &End, explanation: &Explanation) -> String {
    const FRAMES: usize = 3;
    let is_own = |it: &&Frame| it.source.as_ref().is_none_or(|it| !it.is_toolchain());
    let own: Vec<&Frame> = explanation.backtrace.iter().filter(is_own).collect();
    let name = |it: &Frame| it.function.clone().unwrap_or_default();
    let frames: Vec<String> = match end {
        End::LimitReached(_) => own.iter().rev().take(2).map(|it| name(it)).collect(),
        _ => {
            let line = |it: &Frame| it.source.as_ref().map_or(0, |it| it.line);
            own.iter().take(FRAMES).map(|it| format!("{}:{}", name(it), line(it))).collect()
        }
    };
    let what = match end {
        End::Exited(code) => format!(" {code}"),
        End::Exception(exception) => format!(" {}", exception.vector),
        _ => String::new(),
    };
    format!("{}{what} {}", kind(end), frames.join(" "))
}

/// A finding's name.
pub(crate) fn name(end: &End, key: &str) -> String {
    format!("{}-{:08x}", kind(end), hash(key.as_bytes()) & 0xffff_ffff)
}

/// The 64-bit FNV-1a hash: the same everywhere and always, as names of files have to be.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    const START: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(START, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
