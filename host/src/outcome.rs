//! Step 12: how a run ended. Whatever a guest does is an [`End`], never an error of the host's.

use crate::exception::Exception;
use crate::exit::ExitKind;
use crate::layout::Gpa;
use crate::limit::Limit;
use crate::printable::Printable;
use kvm_bindings::kvm_regs;
use std::collections::BTreeMap;
use std::fmt;

/// What a run came to.
///
/// ```
/// use portcall::{End, Image, Kvm, Vm};
///
/// // mov eax, 42; hlt
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xb8, 42, 0, 0, 0, 0xf4])?);
/// let outcome = Vm::builder(&kvm, &image).build()?.run()?;
/// assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 42));
/// assert_eq!(outcome.stats.exits(), 1);
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The general registers at the end (KVM_GET_REGS).
    pub registers: kvm_regs,
    /// What was counted on the way.
    pub stats: Stats,
    /// What the guest, or a handler, left to be said of the run.
    pub annotations: Annotations,
}

/// Keys and values that a run leaves behind ([`Guest::annotate`](crate::Guest::annotate)), in
/// the order they came. At most 1,024 of them, and 64 KiB: a guest decides what they are.
///
/// ```
/// let none = portcall::Annotations::default();
/// assert_eq!((none.get("seed"), none.iter().count()), (None, 0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    entries: Vec<(String, String)>,
    bytes: usize,
}

impl Annotations {
    const MAX_ENTRIES: usize = 1024;
    const MAX_BYTES: usize = 64 * 1024;

    pub(crate) fn add(&mut self, key: &str, value: &str) -> bool {
        let bytes = self.bytes + key.len() + value.len();
        let fits = self.entries.len() < Self::MAX_ENTRIES && bytes <= Self::MAX_BYTES;
        if fits {
            self.entries.push((key.to_owned(), value.to_owned()));
            self.bytes = bytes;
        }
        fits
    }

    /// The keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The last value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().filter(|(known, _)| *known == key).last().map(|(_, value)| value)
    }
}

/// How a run ended.
///
/// ```
/// use portcall::End;
///
/// assert!(End::Exited(3).is_normal() && End::Halted.is_normal());
/// assert!(!End::TripleFault.is_normal());
/// assert_eq!(End::Exited(3).to_string(), "exited with code 3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The guest wrote its exit code to the exit port.
    Exited(u32),
    /// HLT with no interrupt to come: a normal end.
    Halted,
    /// The guest said that it panicked.
    Panicked {
        /// The message; what is not UTF-8 in it is replaced.
        message: String,
        /// Where, if the guest said it.
        at: Option<Place>,
    },
    /// An exception that the guest has no handler of its own for. The outcome's registers are
    /// those of the faulting instruction.
    Exception(Exception),
    /// A fault while a fault was handled while a fault was handled: the processor gives up.
    TripleFault,
    /// An access to a mapped address where there is no RAM.
    UnmappedAccess {
        /// The guest-physical address.
        gpa: Gpa,
        /// Whether it was a write.
        write: bool,
    },
    /// A typed hypercall that is not answered: this VM was not given it, or it is not as its
    /// definition has it.
    CallRefused {
        /// The interface and the function, as `Store::put`.
        call: String,
        /// Why.
        why: String,
    },
    /// `main` has returned, and the guest waits for the host's calls: see
    /// [`Vm::door`](crate::Vm::door).
    Serving,
    /// A handler of the host's could not answer.
    HandlerFailed {
        /// What it said.
        message: String,
    },
    /// A limit was reached.
    LimitReached(Limit),
    /// A [`Stopper`](crate::Stopper) stopped it.
    Stopped,
    /// The guest of a replay did something else than the recorded one.
    Diverged {
        /// What the recorded one did.
        expected: String,
        /// What this one did.
        actual: String,
    },
    /// KVM met an instruction that it cannot emulate.
    EmulationFailed {
        /// The instruction's bytes and some more, where KVM told them.
        bytes: Vec<u8>,
    },
    /// KVM gave up for another reason of its own.
    InternalError {
        /// KVM_INTERNAL_ERROR_*.
        suberror: u32,
        /// The words KVM gave with it.
        data: Vec<u64>,
    },
    /// The processor refused to enter the guest.
    EntryFailed {
        /// The hardware's own number for it.
        reason: u64,
    },
    /// KVM returned for a reason that nothing here has asked for.
    UnexpectedExit {
        /// KVM_EXIT_*.
        reason: u32,
    },
}

/// A place in the guest's source.
///
/// ```
/// let at = portcall::Place { file: "src/main.rs".to_owned(), line: 3, column: 7 };
/// let end = portcall::End::Panicked { message: "no".to_owned(), at: Some(at) };
/// assert!(end.to_string().contains("src/main.rs:3:7"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the compiler was given it.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
}

impl End {
    /// Whether the guest ended of its own will.
    #[must_use]
    pub const fn is_normal(&self) -> bool {
        matches!(self, Self::Exited(_) | Self::Halted | Self::Serving)
    }

    /// All that [`name`](Self::name) gives.
    pub const NAMES: [&str; 16] = [
        "exited",
        "halted",
        "panicked",
        "exception",
        "triple-fault",
        "unmapped-access",
        "call-refused",
        "serving",
        "handler-failed",
        "limit-reached",
        "stopped",
        "diverged",
        "emulation-failed",
        "internal-error",
        "entry-failed",
        "unexpected-exit",
    ];

    /// A short name, the same whatever the details.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Halted => "halted",
            Self::Panicked { .. } => "panicked",
            Self::Exception(_) => "exception",
            Self::TripleFault => "triple-fault",
            Self::UnmappedAccess { .. } => "unmapped-access",
            Self::CallRefused { .. } => "call-refused",
            Self::Serving => "serving",
            Self::HandlerFailed { .. } => "handler-failed",
            Self::LimitReached(_) => "limit-reached",
            Self::Stopped => "stopped",
            Self::Diverged { .. } => "diverged",
            Self::EmulationFailed { .. } => "emulation-failed",
            Self::InternalError { .. } => "internal-error",
            Self::EntryFailed { .. } => "entry-failed",
            Self::UnexpectedExit { .. } => "unexpected-exit",
        }
    }
}

/// For people: what a terminal would obey in a guest's texts is replaced, and their further lines
/// are set in. The fields have them as they are.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Halted => f.write_str("halted"),
            Self::Panicked { message, at: Some(at) } => {
                let (file, message) = (Printable(&at.file), Printable(message));
                write!(f, "panicked at {file}:{}:{}: {message}", at.line, at.column)
            }
            Self::Panicked { message, at: None } => write!(f, "panicked: {}", Printable(message)),
            Self::Exception(exception) => exception.fmt(f),
            Self::TripleFault => {
                f.write_str("triple fault: an exception whose handling failed as well")
            }
            Self::UnmappedAccess { gpa, write } => {
                let what = if *write { "wrote to" } else { "read from" };
                write!(f, "{what} guest-physical {gpa}, where there is no RAM")
            }
            Self::CallRefused { call, why } => {
                write!(f, "call refused: {}: {}", Printable(call), Printable(why))
            }
            Self::Serving => f.write_str("waits for calls of the host's"),
            Self::HandlerFailed { message } => {
                write!(f, "a handler on the host failed: {}", Printable(message))
            }
            Self::LimitReached(limit) => limit.fmt(f),
            Self::Stopped => f.write_str("stopped by the host"),
            Self::Diverged { expected, actual } => {
                let (expected, actual) = (Printable(expected), Printable(actual));
                write!(f, "the replay diverged: expected {expected}, but it was {actual}")
            }
            Self::EmulationFailed { bytes } if bytes.is_empty() => {
                f.write_str("KVM cannot emulate an instruction")
            }
            Self::EmulationFailed { bytes } => {
                write!(f, "KVM cannot emulate the instruction at {bytes:02x?}")
            }
            Self::InternalError { suberror, .. } => {
                write!(f, "KVM gave up with internal error {suberror}")
            }
            Self::EntryFailed { reason } => {
                write!(f, "the processor refused to enter the guest, reason {reason:#x}")
            }
            Self::UnexpectedExit { reason } => {
                write!(f, "KVM returned with exit reason {reason}, which nothing asked for")
            }
        }
    }
}

/// What a VM counts as it runs.
///
/// ```
/// use portcall::exit::ExitKind;
/// use portcall::{Image, Kvm, Vm};
///
/// // in al, 0x60; hlt
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xe4, 0x60, 0xf4])?);
/// let stats = Vm::builder(&kvm, &image).build()?.run()?.stats;
/// assert_eq!((stats.exits(), stats.exits_of(ExitKind::In)), (2, 1));
/// // Nobody answered: one read.
/// assert_eq!(stats.unanswered[&0x60], (1, 0));
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    exits: [u64; ExitKind::ALL.len()],
    /// Bytes of console text taken from the guest.
    pub console_bytes: u64,
    /// Bytes of console text that were lost: the guest's index ran ahead of its window, or the
    /// console's sink took nothing after the end.
    pub console_lost: u64,
    /// Typed calls that the guest made.
    pub calls: u64,
    /// Accesses to ports that nobody answers, by port: reads and writes.
    pub unanswered: BTreeMap<u16, (u64, u64)>,
}

impl Stats {
    pub(crate) const fn count(&mut self, kind: ExitKind) {
        self.exits[kind as usize] += 1;
    }

    /// Exits of a kind.
    #[must_use]
    pub const fn exits_of(&self, kind: ExitKind) -> u64 {
        self.exits[kind as usize]
    }

    /// All exits that the guest made. Interruptions are not its doing, and their number is a
    /// matter of time; nor are [traps](crate::trap), which those who drive it have set.
    #[must_use]
    pub fn exits(&self) -> u64 {
        let hosts = [ExitKind::Interrupted, ExitKind::Debug];
        self.exits.iter().sum::<u64>() - hosts.map(|it| self.exits_of(it)).iter().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Place};

    #[test]
    fn no_text_of_a_guests_reaches_a_terminal_as_it_is() {
        let text = || "\x1b[2J\u{202e}\nportcall: well".to_owned();
        let at = Place { file: text(), line: 1, column: 2 };
        for end in [
            End::Panicked { message: text(), at: Some(at) },
            End::Panicked { message: text(), at: None },
            End::CallRefused { call: text(), why: text() },
            End::HandlerFailed { message: text() },
            End::Diverged { expected: text(), actual: text() },
        ] {
            let shown = end.to_string();
            let shown_raw = |c| matches!(c, '\x1b' | '\u{202e}');
            assert!(!shown.contains(shown_raw) && !shown.contains("\nportcall"), "{shown:?}");
        }
    }
}
