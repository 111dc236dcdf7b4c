//! An end as gdb knows it: an exit, or a signal.

use gdbstub::common::Signal;
use portcall::End;

/// How gdb is told of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The guest is gone, with this code.
    Exited(u8),
    /// It is held where it ended, for this reason.
    Held(Signal),
}

/// What gdb is told.
pub(super) fn told(end: &End) -> Told {
    match end {
        End::Exited(code) => Told::Exited(u8::try_from(*code & 0xff).unwrap_or_default()),
        End::Halted | End::Serving => Told::Exited(0),
        End::Exception(exception) => Told::Held(match exception.vector {
            0 | 16 | 19 => Signal::SIGFPE,
            1 | 3 => Signal::SIGTRAP,
            6 | 7 => Signal::SIGILL,
            17 | 18 => Signal::SIGBUS,
            _ => Signal::SIGSEGV,
        }),
        End::UnmappedAccess { .. } => Told::Held(Signal::SIGBUS),
        End::TripleFault => Told::Held(Signal::SIGSEGV),
        End::EmulationFailed { .. } => Told::Held(Signal::SIGILL),
        End::LimitReached(_) => Told::Held(Signal::SIGXCPU),
        End::Stopped => Told::Held(Signal::SIGTERM),
        // A panic, a refusal, a handler or a KVM that gave up.
        _ => Told::Held(Signal::SIGABRT),
    }
}

#[cfg(test)]
mod tests {
    use super::{Told, told};
    use gdbstub::common::Signal;
    use portcall::End;

    #[test]
    fn a_code_is_a_code_and_what_is_none_a_signal() {
        assert_eq!(told(&End::Exited(7)), Told::Exited(7));
        assert_eq!(told(&End::Exited(256)), Told::Exited(0));
        assert_eq!(told(&End::Halted), Told::Exited(0));
        let panicked = End::Panicked { message: String::new(), at: None };
        assert_eq!(told(&panicked), Told::Held(Signal::SIGABRT));
    }
}
