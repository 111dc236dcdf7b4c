//! The process codes: which end gives which.

use inspect::printable;
use portcall::{End, Error, Limit};
use std::io;

pub(crate) const PANICKED: u8 = 101;
pub(crate) const CODE_DOES_NOT_FIT: u8 = 120;
pub(crate) const EXPECTATION: u8 = 121;
pub(crate) const LIMIT: u8 = 122;
pub(crate) const REFUSED: u8 = 123;
pub(crate) const DEADLINE: u8 = 124;
pub(crate) const OURS: u8 = 125;
pub(crate) const KVM_REFUSED: u8 = 126;
pub(crate) const SIGNAL: u8 = 128;
pub(crate) const FAULT: u8 = 139;

/// The largest exit code that a guest can pass on; those above say something else.
pub(crate) const GUEST_MAX: u32 = 100;

pub(crate) const HELP: &str = "\
Process codes:
  0-100    the guest's own exit code; 0 as well where it ended by HLT
  101      the guest panicked
  120      the guest's exit code is above 100 (the report has it)
  121      an expectation was not met, or a replay went another way than recorded
  122      a limit was reached
  123      a call was refused, or a handler on the host failed
  124      the guest ran longer than --timeout
  125      portcall itself failed: wrong command line, bad image, log or snapshot, no KVM
  126      KVM refused: an instruction it cannot emulate, a state it cannot enter
  130 143  interrupted by Ctrl-C (SIGINT) or SIGTERM; 129 by SIGHUP
  137      killed by the debugger
  139      an exception or triple fault in the guest
  141      whoever read our output went away";

/// The process code of an end; `signal` is the one that stopped the guest, if one did.
pub(crate) fn of(end: &End, signal: Option<i32>) -> u8 {
    match end {
        End::Exited(code) if *code <= GUEST_MAX => u8::try_from(*code).unwrap_or(CODE_DOES_NOT_FIT),
        End::Exited(_) => CODE_DOES_NOT_FIT,
        End::Halted | End::Serving => 0,
        End::Panicked { .. } => PANICKED,
        End::LimitReached(Limit::Time(_)) => DEADLINE,
        End::LimitReached(_) => LIMIT,
        End::Diverged { .. } => EXPECTATION,
        End::CallRefused { .. } | End::HandlerFailed { .. } => REFUSED,
        End::Stopped => {
            SIGNAL + signal.and_then(|signal| u8::try_from(signal).ok()).unwrap_or_default()
        }
        End::Exception(_) | End::TripleFault | End::UnmappedAccess { .. } => FAULT,
        // Whatever else KVM may say is no normal end either.
        _ => KVM_REFUSED,
    }
}

/// Why portcall itself could not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What happened, to what, and what to do.
    Message(String),
    /// Our output's reader went away: nothing to say, and nobody to say it to.
    ClosedPipe,
}

impl Failure {
    /// Says it, and gives the process code.
    pub(crate) fn say(&self) -> u8 {
        let Self::Message(message) = self else {
            return SIGNAL + u8::try_from(libc::SIGPIPE).unwrap_or_default();
        };
        let style = anstyle::AnsiColor::Red.on_default().bold();
        say!("{style}error{style:#}: {message}");
        OURS
    }

    /// An error of writing to `what`; its words may be an experiment's, and so a guest's.
    pub(crate) fn writing(what: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        Self::Message(format!("cannot write {what}: {}", printable(&error.to_string())))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Console(source) => Self::writing("the guest's output to stdout", source),
            _ => Self::Message(error.to_string()),
        }
    }
}
