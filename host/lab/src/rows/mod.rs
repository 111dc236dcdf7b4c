//! The mechanisms, one file each, and what they have in common. The guest's half of a row is the
//! file of the same name in guest/lab/src; the laboratory's README.md says how to add one.

mod call;
mod coalesced;
mod cpuid;
mod helper;
mod hlt;
mod host_call;
mod input;
mod ioeventfd;
mod mmio;
mod msr;
mod out;
mod polled;
mod rdtsc;
mod ring;
mod sequence;
mod stop;
mod string;
mod touch;
mod trap;
mod vmcall;

use crate::report::Absent;
use crate::stopwatch::{Stopwatch, Timed};
use inspect::KvmKind;
use jail::Jail;
use portcall::{Builder, Error, Ring, Vm};
use std::time::Duration;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What it is called, and its guest.
    pub name: &'static str,
    /// What is done, in a sentence.
    pub what: &'static str,
    /// Makes the host's half for a VM.
    make: fn() -> Box<dyn Mechanism>,
}

impl Row {
    /// The host's half for a VM.
    #[must_use]
    pub fn mechanism(&self) -> Box<dyn Mechanism> {
        (self.make)()
    }
}

/// A way out of a guest. One is made for each VM.
pub trait Mechanism {
    /// Why there is nothing to measure in that ring, if there is not.
    fn meaningless(&self, ring: Ring) -> Option<&'static str> {
        let _ = ring;
        None
    }

    /// Gives the VM what the guest's half needs: handlers, services, memory.
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder
    }

    /// What it says of a VM that cannot be built so.
    fn not_built(&self, error: &Error) -> Absent {
        Absent::failed(error.to_string())
    }

    /// Does what has to be done once the VM is built: ioctls, threads.
    ///
    /// # Errors
    /// This KVM or machine has no such thing.
    fn built(&mut self, vm: &mut Vm) -> Result<(), Absent> {
        let _ = vm;
        Ok(())
    }

    /// The jail that the VM runs in, as one that is shipped does; or `None`.
    fn jail(&self) -> Option<Jail> {
        Some(Jail::new())
    }

    /// Runs the guest. The times are the guest's own, or those that this comes back with.
    ///
    /// # Errors
    /// It went wrong.
    fn drive(&mut self, vm: &mut Vm, watch: &Stopwatch) -> Result<Option<Timed>, Absent> {
        let _ = watch;
        let outcome = vm.run().map_err(Absent::of_error)?;
        Absent::unless_normal(&outcome.end).map(|()| None)
    }

    /// Whether what was to happen did: at least `samples` times.
    ///
    /// # Errors
    /// What was wrong.
    fn check(&mut self, samples: u32) -> Result<(), Absent> {
        let _ = samples;
        Ok(())
    }

    /// Whether what KVM counts beside its samples are an operation's instructions. Not where a guest
    /// waits by running.
    fn has_instructions(&self) -> bool {
        true
    }

    /// Whether that KVM is known to get it wrong in that ring: the row says so, and it is no failure.
    fn is_known_wrong(&self, kvm: KvmKind, ring: Ring) -> bool {
        let _ = (kvm, ring);
        false
    }

    /// How many samples to try it with first.
    fn probe(&self) -> u32 {
        8
    }

    /// How many samples a round has at most, where one may take far longer than those of the try.
    fn most(&self) -> u32 {
        u32::MAX
    }

    /// How long a round may take, where it is known that it may never end.
    fn deadline(&self) -> Option<Duration> {
        None
    }
}

/// All of them, in the order of the table.
pub const ALL: &[Row] = &[
    out::ONE,
    out::TWO,
    out::FOUR,
    input::ONE,
    input::TWO,
    input::FOUR,
    string::OUTS,
    string::INS,
    mmio::READ,
    mmio::WRITE,
    hlt::HLT,
    cpuid::CPUID,
    msr::READ,
    msr::WRITE,
    ioeventfd::PIO,
    ioeventfd::MMIO,
    coalesced::PIO,
    coalesced::MMIO,
    call::SCALARS,
    call::BUFFER_IN,
    call::BUFFER_OUT,
    host_call::HOST_CALL,
    ring::ONE,
    ring::EIGHT,
    ring::SIXTY_FOUR,
    ring::FULL,
    polled::POLLED,
    stop::STOP,
    trap::INT3,
    trap::INT,
    trap::SYSCALL,
    touch::TOUCH,
    vmcall::VMCALL,
    rdtsc::RDTSC,
];

/// The one of that name.
#[must_use]
pub fn find(name: &str) -> Option<Row> {
    ALL.iter().copied().find(|it| it.name == name)
}

/// Whether this machine's KVM is known to get that row wrong in that ring, so that it is a finding and
/// no failure.
#[must_use]
pub fn is_known_wrong(name: &str, ring: u8) -> bool {
    let ring = if ring == 0 { Ring::Zero } else { Ring::Three };
    find(name).is_some_and(|it| it.mechanism().is_known_wrong(KvmKind::detect(), ring))
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use std::collections::HashSet;

    #[test]
    fn names_are_there_once_and_as_words() {
        let mut names = HashSet::new();
        for row in ALL {
            assert!(names.insert(row.name), "{}", row.name);
            assert!(row.name.chars().all(|it| it.is_ascii_alphanumeric() || it == '-'));
            assert!(row.what.len() > 10 && !row.what.ends_with('.'), "{}", row.name);
        }
    }
}
