//! Why a row has no figures, in words.

use crate::report::{Absence, Absent};
use portcall::{End, Limit};

impl Absent {
    fn new(kind: Absence, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }

    /// This KVM, kernel or machine has no such thing.
    pub fn lacking(why: impl Into<String>) -> Self {
        Self::new(Absence::Lacking, why)
    }

    /// The guest never came back.
    pub fn wedged(why: impl Into<String>) -> Self {
        Self::new(Absence::Wedged, why)
    }

    /// It came back with something wrong.
    pub fn wrong(why: impl Into<String>) -> Self {
        Self::new(Absence::Wrong, why)
    }

    /// The run's time was over.
    pub fn not_reached(why: impl Into<String>) -> Self {
        Self::new(Absence::NotReached, why)
    }

    /// There is nothing to be measured.
    pub fn meaningless(why: impl Into<String>) -> Self {
        Self::new(Absence::Meaningless, why)
    }

    /// The laboratory itself failed.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::new(Absence::Failed, why)
    }

    /// The laboratory failed at something of the host's.
    pub fn of_error(error: impl std::error::Error) -> Self {
        Self::failed(error.to_string())
    }

    /// What KVM answered to an ioctl, with what that is for.
    #[must_use]
    pub fn refused(ioctl: &str, error: portcall::kvm_ioctls::Error) -> Self {
        let words = std::io::Error::from_raw_os_error(error.errno());
        let why = format!("this KVM refuses {ioctl}: {words}");
        match error.errno() {
            libc::ENOTTY | libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP | libc::ENXIO => {
                Self::lacking(why)
            }
            // No memory, no file descriptor: this time.
            _ => Self::failed(why),
        }
    }

    /// What an end says of a guest that was to come to a good one.
    pub fn unless_normal(end: &End) -> Result<(), Self> {
        match end {
            End::Exited(code) if *code != 0 => {
                Err(Self::wrong(format!("the guest ended with code {code}")))
            }
            _ if end.is_normal() => Ok(()),
            End::Panicked { message, .. } => {
                Err(Self::wrong(format!("the guest panicked: {message}")))
            }
            End::LimitReached(Limit::Time(_)) => Err(Self::wedged(end.to_string())),
            End::EmulationFailed { .. } => {
                Err(Self::lacking(format!("this KVM cannot carry out the instruction: {end}")))
            }
            End::CallRefused { .. } | End::HandlerFailed { .. } => {
                Err(Self::failed(end.to_string()))
            }
            _ => Err(Self::wrong(format!("the guest ended in {end}"))),
        }
    }
}
