//! Why KVM_RUN returned: what KVM said, and what it means. Pure, so that it is tested with
//! made-up exits.

use crate::layout::Gpa;
use crate::outcome::End;
use abi::port;
use kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR,
    KVM_EXIT_IO, KVM_EXIT_IO_IN, KVM_EXIT_MMIO, KVM_EXIT_SET_TPR, KVM_EXIT_SHUTDOWN,
    KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR, KVM_INTERNAL_ERROR_EMULATION,
    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, kvm_run,
};
use std::fmt;
use std::ops::RangeInclusive;

/// A port access that waits for its answer (KVM_EXIT_IO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// The port.
    pub port: u16,
    /// Whether the guest reads (IN) rather than writes (OUT).
    pub read: bool,
    /// Bytes of one element: 1, 2 or 4.
    pub width: u8,
    /// Elements; more than 1 for a string instruction.
    pub count: u32,
    /// Where the elements lie, in bytes from the start of the kvm_run mapping.
    pub offset: u64,
}

impl Io {
    /// Whether it is a typed call, rather than a write to the call port that is none.
    #[must_use]
    pub const fn is_call(&self) -> bool {
        self.port == port::CALL && !self.read && self.width == 4 && self.count == 1
    }
}

/// An access to a guest-physical address that is not RAM (KVM_EXIT_MMIO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mmio {
    /// The address.
    pub gpa: Gpa,
    /// Bytes.
    pub size: u32,
    /// What the guest writes, or `None` where it reads.
    pub write: Option<u64>,
}

impl Mmio {
    /// The bytes of a read or write, from the first address to the last; `None` where it is no
    /// access of any KVM's, which have 1 to 8.
    pub(crate) fn range(&self) -> Option<RangeInclusive<u64>> {
        let last = self.gpa.0.checked_add(u64::from(self.size).checked_sub(1)?)?;
        (self.size <= 8).then_some(self.gpa.0..=last)
    }
}

/// RDMSR or WRMSR of a register that the host answers for (KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msr {
    /// The register's number: ECX.
    pub index: u32,
    /// What the guest writes, EDX:EAX, or `None` where it reads.
    pub write: Option<u64>,
}

/// What KVM gave up on (KVM_EXIT_INTERNAL_ERROR).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalError {
    /// KVM_INTERNAL_ERROR_*: 1 is an emulation failure.
    pub suberror: u32,
    /// The words KVM gave with it.
    pub data: Vec<u64>,
    /// The bytes of the instruction it could not emulate, where it told them.
    pub instruction: Vec<u8>,
}

/// Why KVM_RUN returned.
///
/// ```
/// use portcall::{End, Exit};
///
/// // What an exit is where nobody handles it.
/// assert_eq!(Exit::Hlt.end(), Some(End::Halted));
/// assert_eq!(Exit::Shutdown.end(), Some(End::TripleFault));
/// assert_eq!(Exit::Interrupted.end(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// A port access.
    Io(Io),
    /// An access outside RAM.
    Mmio(Mmio),
    /// An access to a model-specific register, where the host asked for it.
    Msr(Msr),
    /// HLT with no interrupt to come.
    Hlt,
    /// A triple fault.
    Shutdown,
    /// A signal came.
    Interrupted,
    /// Single-step or a breakpoint, where the host asked for them.
    Debug,
    /// KVM gave up.
    InternalError(InternalError),
    /// The processor refused to enter the guest.
    FailEntry {
        /// The hardware's own number for it.
        reason: u64,
    },
    /// The guest has lowered its task priority (CR8), which some KVMs tell a host without an
    /// interrupt controller of theirs. There are no interrupts for which that would matter.
    TaskPriority,
    /// Anything else.
    Other {
        /// KVM_EXIT_*.
        reason: u32,
    },
}

/// The kinds of exits, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitKind {
    /// IN and INS.
    In,
    /// OUT and OUTS.
    Out,
    /// Outside RAM.
    Mmio,
    /// HLT.
    Hlt,
    /// A triple fault.
    Shutdown,
    /// A signal.
    Interrupted,
    /// Single-step or a breakpoint.
    Debug,
    /// KVM gave up.
    InternalError,
    /// The processor refused.
    FailEntry,
    /// Anything else.
    Other,
    /// RDMSR and WRMSR.
    Msr,
}

impl ExitKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::In,
        Self::Out,
        Self::Mmio,
        Self::Hlt,
        Self::Shutdown,
        Self::Interrupted,
        Self::Debug,
        Self::InternalError,
        Self::FailEntry,
        Self::Other,
        Self::Msr,
    ];

    /// Its name, as `--expect` and the reports have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Mmio => "mmio",
            Self::Hlt => "hlt",
            Self::Shutdown => "shutdown",
            Self::Interrupted => "interrupted",
            Self::Debug => "debug",
            Self::InternalError => "internal-error",
            Self::FailEntry => "fail-entry",
            Self::Other => "other",
            Self::Msr => "msr",
        }
    }
}

impl Exit {
    /// Reads what KVM left in the kvm_run mapping (KVM API documentation, "The kvm_run
    /// structure").
    #[must_use]
    pub fn decode(run: &kvm_run) -> Self {
        let union = &run.__bindgen_anon_1;
        match run.exit_reason {
            KVM_EXIT_IO => {
                // SAFETY: the exit reason names this member; any bytes are valid in it.
                let io = unsafe { union.io };
                if !matches!(io.size, 1 | 2 | 4) {
                    return Self::Other { reason: KVM_EXIT_IO };
                }
                Self::Io(Io {
                    port: io.port,
                    read: u32::from(io.direction) == KVM_EXIT_IO_IN,
                    width: io.size,
                    count: io.count,
                    offset: io.data_offset,
                })
            }
            KVM_EXIT_MMIO => {
                // SAFETY: as above.
                let mmio = unsafe { union.mmio };
                let mut data = mmio.data;
                for byte in data.iter_mut().skip(mmio.len as usize) {
                    *byte = 0;
                }
                let write = (mmio.is_write != 0).then_some(u64::from_le_bytes(data));
                Self::Mmio(Mmio { gpa: Gpa(mmio.phys_addr), size: mmio.len, write })
            }
            KVM_EXIT_X86_RDMSR | KVM_EXIT_X86_WRMSR => {
                // SAFETY: as above.
                let msr = unsafe { union.msr };
                let write = (run.exit_reason == KVM_EXIT_X86_WRMSR).then_some(msr.data);
                Self::Msr(Msr { index: msr.index, write })
            }
            KVM_EXIT_HLT => Self::Hlt,
            KVM_EXIT_SHUTDOWN => Self::Shutdown,
            KVM_EXIT_INTR => Self::Interrupted,
            KVM_EXIT_DEBUG => Self::Debug,
            KVM_EXIT_SET_TPR => Self::TaskPriority,
            KVM_EXIT_INTERNAL_ERROR => {
                // SAFETY: as above.
                let internal = unsafe { union.internal };
                let count = (internal.ndata as usize).min(internal.data.len());
                Self::InternalError(InternalError {
                    suberror: internal.suberror,
                    data: internal.data[..count].to_vec(),
                    instruction: instruction(&internal.data[..count], internal.suberror),
                })
            }
            KVM_EXIT_FAIL_ENTRY => {
                // SAFETY: as above.
                let fail = unsafe { union.fail_entry };
                Self::FailEntry { reason: fail.hardware_entry_failure_reason }
            }
            reason => Self::Other { reason },
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> ExitKind {
        match self {
            Self::Io(Io { read: true, .. }) => ExitKind::In,
            Self::Io(_) => ExitKind::Out,
            Self::Mmio(_) => ExitKind::Mmio,
            Self::Msr(_) => ExitKind::Msr,
            Self::Hlt => ExitKind::Hlt,
            Self::Shutdown => ExitKind::Shutdown,
            Self::Interrupted => ExitKind::Interrupted,
            Self::Debug => ExitKind::Debug,
            Self::InternalError(_) => ExitKind::InternalError,
            Self::FailEntry { .. } => ExitKind::FailEntry,
            Self::TaskPriority | Self::Other { .. } => ExitKind::Other,
        }
    }

    /// The end of the run that it is; `None` for what is handled and gone on from. Of an access
    /// outside RAM and one to a model-specific register: what it is where no handler answers it.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        Some(match self {
            Self::Io(_) | Self::Interrupted | Self::Debug | Self::TaskPriority => return None,
            Self::Hlt => End::Halted,
            Self::Shutdown => End::TripleFault,
            Self::Mmio(mmio) => End::UnmappedAccess { gpa: mmio.gpa, write: mmio.write.is_some() },
            Self::Msr(Msr { write: None, .. }) => {
                End::UnexpectedExit { reason: KVM_EXIT_X86_RDMSR }
            }
            Self::Msr(_) => End::UnexpectedExit { reason: KVM_EXIT_X86_WRMSR },
            Self::InternalError(error) if error.suberror == KVM_INTERNAL_ERROR_EMULATION => {
                End::EmulationFailed { bytes: error.instruction.clone() }
            }
            Self::InternalError(error) => {
                End::InternalError { suberror: error.suberror, data: error.data.clone() }
            }
            Self::FailEntry { reason } => End::EntryFailed { reason: *reason },
            Self::Other { reason } => End::UnexpectedExit { reason: *reason },
        })
    }
}

/// The instruction's bytes in an emulation failure's words: flags, then a byte count and 15
/// bytes (struct kvm_run, `emulation_failure`), if the flags say that they are there.
fn instruction(data: &[u64], suberror: u32) -> Vec<u8> {
    let (Some(flags), Some(words)) = (data.first(), data.get(1..3)) else { return Vec::new() };
    let told = flags & u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
    if suberror != KVM_INTERNAL_ERROR_EMULATION || !told {
        return Vec::new();
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes[1..].iter().copied().take(usize::from(bytes[0])).collect()
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(io) => {
                let name = if io.read { "in" } else { "out" };
                write!(f, "{name} port {:#x}, {} byte", io.port, io.width)?;
                if io.width != 1 {
                    f.write_str("s")?;
                }
                if io.count != 1 {
                    write!(f, ", {} times", io.count)?;
                }
                Ok(())
            }
            Self::Mmio(mmio) => write!(f, "{mmio}, outside RAM"),
            Self::Msr(msr) => msr.fmt(f),
            Self::Hlt => f.write_str("hlt"),
            Self::Shutdown => f.write_str("shutdown (triple fault)"),
            Self::Interrupted => f.write_str("interrupted by a signal"),
            Self::Debug => f.write_str("debug"),
            Self::InternalError(error) => write!(f, "internal error {}", error.suberror),
            Self::FailEntry { reason } => write!(f, "entry failed, reason {reason:#x}"),
            Self::TaskPriority => f.write_str("task priority lowered"),
            Self::Other { reason } => write!(f, "exit reason {reason}"),
        }
    }
}

impl fmt::Display for Mmio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gpa, size, write } = self;
        match write {
            Some(value) => write!(f, "write of {value:#x} to {gpa}, {size} bytes"),
            None => write!(f, "read of {gpa}, {size} bytes"),
        }
    }
}

impl fmt::Display for Msr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.write {
            Some(value) => write!(f, "write of {value:#x} to MSR {:#x}", self.index),
            None => write!(f, "read of MSR {:#x}", self.index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, ExitKind, Io, Mmio, Msr};
    use crate::layout::Gpa;
    use crate::outcome::End;
    use kvm_bindings::{
        KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_HYPERV, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR,
        KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_MMIO, KVM_EXIT_SET_TPR, KVM_EXIT_SHUTDOWN,
        KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR, KVM_MSR_EXIT_REASON_FILTER, kvm_run,
        kvm_run__bindgen_ty_1__bindgen_ty_2 as RawFailEntry,
        kvm_run__bindgen_ty_1__bindgen_ty_4 as RawIo,
        kvm_run__bindgen_ty_1__bindgen_ty_6 as RawMmio,
        kvm_run__bindgen_ty_1__bindgen_ty_13 as RawInternalError,
        kvm_run__bindgen_ty_1__bindgen_ty_23 as RawMsr,
    };

    fn exit(reason: u32, fill: impl FnOnce(&mut kvm_run)) -> Exit {
        let mut run = kvm_run { exit_reason: reason, ..Default::default() };
        fill(&mut run);
        Exit::decode(&run)
    }

    #[test]
    fn a_string_write_keeps_its_width_and_count() {
        let decoded = exit(KVM_EXIT_IO, |run| {
            run.__bindgen_anon_1.io = RawIo {
                direction: u8::try_from(KVM_EXIT_IO_OUT).expect("small"),
                size: 2,
                port: 0x3f8,
                count: 7,
                data_offset: 4096,
            };
        });
        let io = Io { port: 0x3f8, read: false, width: 2, count: 7, offset: 4096 };
        assert_eq!(decoded, Exit::Io(io));
        assert_eq!(decoded.kind(), ExitKind::Out);
        assert_eq!(decoded.end(), None);
        assert_eq!(decoded.to_string(), "out port 0x3f8, 2 bytes, 7 times");
    }

    #[test]
    fn an_access_outside_ram_shows_only_the_bytes_written() {
        let decoded = exit(KVM_EXIT_MMIO, |run| {
            run.__bindgen_anon_1.mmio =
                RawMmio { phys_addr: 0xfee0_0000, data: [0xff; 8], len: 2, is_write: 1 };
        });
        assert_eq!(decoded.end(), Some(End::UnmappedAccess { gpa: Gpa(0xfee0_0000), write: true }));
        assert!(decoded.to_string().contains("write of 0xffff to 0xfee00000"));
    }

    #[test]
    fn an_access_has_a_range_where_a_kvm_could_make_it() {
        let range = |gpa, size| Mmio { gpa: Gpa(gpa), size, write: None }.range();
        assert_eq!(range(0xc000_0ffd, 3), Some(0xc000_0ffd..=0xc000_0fff));
        assert_eq!(range(u64::MAX - 7, 8), Some(u64::MAX - 7..=u64::MAX));
        for (gpa, size) in [(0xc000_0000, 0), (0xc000_0000, 9), (u64::MAX, 2), (0, u32::MAX)] {
            assert_eq!(range(gpa, size), None, "{size} bytes at {gpa:#x}");
        }
    }

    #[test]
    fn an_access_to_an_msr_is_a_read_or_a_write() {
        for (reason, write, text) in [
            (KVM_EXIT_X86_RDMSR, None, "read of MSR 0x4b564d10"),
            (KVM_EXIT_X86_WRMSR, Some(7), "write of 0x7 to MSR 0x4b564d10"),
        ] {
            let decoded = exit(reason, |run| {
                run.__bindgen_anon_1.msr = RawMsr {
                    error: 1,
                    pad: [0xff; 7],
                    reason: KVM_MSR_EXIT_REASON_FILTER,
                    index: 0x4b56_4d10,
                    data: 7,
                };
            });
            assert_eq!(decoded, Exit::Msr(Msr { index: 0x4b56_4d10, write }));
            assert_eq!((decoded.kind().name(), decoded.to_string().as_str()), ("msr", text));
            // Where nobody asked for it.
            assert_eq!(decoded.end(), Some(End::UnexpectedExit { reason }));
        }
    }

    #[test]
    fn an_emulation_failure_shows_its_instruction() {
        let decoded = exit(KVM_EXIT_INTERNAL_ERROR, |run| {
            let mut data = [0; 16];
            data[0] = 1;
            data[1] = u64::from_le_bytes([3, 0xf3, 0x0f, 0xb8, 0x90, 0x90, 0x90, 0x90]);
            run.__bindgen_anon_1.internal = RawInternalError { suberror: 1, ndata: 3, data };
        });
        assert_eq!(decoded.end(), Some(End::EmulationFailed { bytes: vec![0xf3, 0x0f, 0xb8] }));
    }

    #[test]
    fn an_emulation_failure_that_tells_nothing_is_one_all_the_same() {
        for (flags, ndata) in [(0, 3), (1, 1), (1, 0)] {
            let decoded = exit(KVM_EXIT_INTERNAL_ERROR, |run| {
                let mut data = [0x0f_0f0f; 16];
                data[0] = flags;
                run.__bindgen_anon_1.internal = RawInternalError { suberror: 1, ndata, data };
            });
            assert_eq!(decoded.end(), Some(End::EmulationFailed { bytes: vec![] }));
        }
    }

    #[test]
    fn a_count_of_words_beyond_the_array_is_cut() {
        let decoded = exit(KVM_EXIT_INTERNAL_ERROR, |run| {
            run.__bindgen_anon_1.internal =
                RawInternalError { suberror: 2, ndata: u32::MAX, data: [0; 16] };
        });
        assert_eq!(decoded.end(), Some(End::InternalError { suberror: 2, data: vec![0; 16] }));
    }

    #[test]
    fn the_other_exits_mean_what_they_say() {
        let end = |reason| exit(reason, |_| {}).end();
        assert_eq!(end(KVM_EXIT_HLT), Some(End::Halted));
        assert_eq!(end(KVM_EXIT_SHUTDOWN), Some(End::TripleFault));
        assert_eq!(end(KVM_EXIT_INTR), None);
        assert_eq!(end(KVM_EXIT_SET_TPR), None);
        assert_eq!(end(KVM_EXIT_HYPERV), Some(End::UnexpectedExit { reason: KVM_EXIT_HYPERV }));
        let failed = exit(KVM_EXIT_FAIL_ENTRY, |run| {
            run.__bindgen_anon_1.fail_entry =
                RawFailEntry { hardware_entry_failure_reason: 0x8000_0021, cpu: 0 };
        });
        assert_eq!(failed.end(), Some(End::EntryFailed { reason: 0x8000_0021 }));
    }
}
