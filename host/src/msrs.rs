//! Step 11: the seam for those who answer for model-specific registers: RDMSR and WRMSR of a guest
//! in ring 0 (SDM vol. 2). In ring 3 both are a general protection fault, and reach nobody.
//!
//! ```
//! use portcall::{End, Guest, Image, Kvm, Msrs, Vm};
//!
//! /// A register that nobody can write, with the square of its number in it.
//! struct Squares;
//!
//! impl Msrs for Squares {
//!     fn read(&mut self, _: &mut Guest<'_>, msr: u32) -> Result<Option<u64>, End> {
//!         Ok(Some(u64::from(msr).pow(2)))
//!     }
//! }
//!
//! // mov ecx, 0x11000; rdmsr; hlt
//! let image = Image::flat(&[0xb9, 0, 0x10, 1, 0, 0x0f, 0x32, 0xf4])?;
//! let kvm = Kvm::open()?;
//! let mut vm = Vm::builder(&kvm, &image).msrs(0x11000..=0x11fff, Squares).build()?;
//! let registers = vm.run()?.registers;
//! assert_eq!((registers.rdx, registers.rax), (1, 0x2100_0000));
//! # Ok::<(), portcall::Error>(())
//! ```
//!
//! KVM is told of the registers before the guest runs (KVM_CAP_X86_USER_SPACE_MSR with
//! KVM_MSR_EXIT_REASON_FILTER, KVM_X86_SET_MSR_FILTER), and asks for these and no others. What KVM
//! itself has in one of them is neither read nor changed by an access that a handler answers. A
//! snapshot has nothing of it, as of ports.

use crate::answer::{asked, guest};
use crate::error::{ConfigError, Error, KvmError};
use crate::exit::{Exit, Msr};
use crate::observe::Observers;
use crate::outcome::End;
use crate::ports::Guest;
use crate::table::Table;
use crate::vm::Vm;
use kvm_bindings::{
    KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER, KVM_MSR_FILTER_MAX_BITMAP_SIZE,
    KVM_MSR_FILTER_MAX_RANGES, kvm_enable_cap,
};
use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};
use std::ops::RangeInclusive;

/// The most ranges that a VM can have (KVM_X86_SET_MSR_FILTER).
pub const RANGES_MAX: usize = KVM_MSR_FILTER_MAX_RANGES as usize;

/// The most registers of a range: a bit each in the filter's bitmap.
pub const RANGE_MAX: u32 = 8 * KVM_MSR_FILTER_MAX_BITMAP_SIZE;

/// The x2APIC's registers, which KVM lets no filter have.
const X2APIC: RangeInclusive<u32> = 0x800..=0x8ff;

/// Answers for model-specific registers. Register it with [`Builder::msrs`](crate::Builder::msrs).
///
/// `Err` ends the run with that [`End`]; for a failure of the handler's own that is
/// [`End::HandlerFailed`].
pub trait Msrs: Send {
    /// The guest reads (RDMSR): the 64 bits that it gets in EDX:EAX, or `None` for a general
    /// protection fault, as at a register that is not there. That unless it is overridden.
    ///
    /// # Errors
    /// The run is to end.
    fn read(&mut self, guest: &mut Guest<'_>, msr: u32) -> Result<Option<u64>, End> {
        let _ = (guest, msr);
        Ok(None)
    }

    /// The guest writes (WRMSR): whether the register takes that value; if not, it is a general
    /// protection fault. That unless it is overridden.
    ///
    /// # Errors
    /// The run is to end.
    fn write(&mut self, guest: &mut Guest<'_>, msr: u32, value: u64) -> Result<bool, End> {
        let _ = (guest, msr, value);
        Ok(false)
    }
}

/// The handlers of model-specific registers.
pub(crate) type MsrTable = Table<u32, dyn Msrs>;

/// A table of these handlers.
pub(crate) fn table(
    handlers: Vec<(RangeInclusive<u32>, Box<dyn Msrs>)>,
) -> Result<MsrTable, ConfigError> {
    let mut table = MsrTable::default();
    for (range, handler) in handlers {
        let (start, end) = (*range.start(), *range.end());
        let wrong = |why| Err(ConfigError::Msrs { start, end, why });
        if range.is_empty() {
            return wrong("the range is empty");
        }
        if end - start >= RANGE_MAX {
            return wrong("a range has at most 0x3000 of them (KVM_X86_SET_MSR_FILTER)");
        }
        if start <= *X2APIC.end() && *X2APIC.start() <= end {
            return wrong("KVM keeps those of the x2APIC, 0x800 to 0x8ff, for itself");
        }
        if table.ranges().count() == RANGES_MAX {
            return wrong("there are 16 ranges already, and KVM takes no more");
        }
        if !table.insert(range, handler) {
            return wrong("another handler has one of them");
        }
    }
    Ok(table)
}

/// Has KVM ask for the registers in the table: two ioctls, and none where it is empty.
pub(crate) fn filter(vm: &VmFd, table: &MsrTable, steps: &mut Observers) -> Result<(), KvmError> {
    let ranges: Vec<&RangeInclusive<u32>> = table.ranges().collect();
    if ranges.is_empty() {
        return Ok(());
    }
    let ask = kvm_enable_cap {
        cap: KVM_CAP_X86_USER_SPACE_MSR,
        args: [KVM_MSR_EXIT_REASON_FILTER.into(), 0, 0, 0],
        ..kvm_enable_cap::default()
    };
    let lacks = |error| match error {
        KvmError::Ioctl { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => {
            KvmError::NoMsrs
        }
        error => error,
    };
    let said = |()| "KVM_CAP_X86_USER_SPACE_MSR, for what is filtered".to_owned();
    steps.ioctl(1, "KVM_ENABLE_CAP", || vm.enable_cap(&ask), |()| said(())).map_err(lacks)?;
    // A bit that is not set is an access that KVM leaves to the host.
    const NONE: [u8; KVM_MSR_FILTER_MAX_BITMAP_SIZE as usize] =
        [0; KVM_MSR_FILTER_MAX_BITMAP_SIZE as usize];
    let filtered = |range: &&RangeInclusive<u32>| MsrFilterRange {
        flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
        base: *range.start(),
        msr_count: range.end() - range.start() + 1,
        bitmap: &NONE,
    };
    let filters: Vec<_> = ranges.iter().map(filtered).collect();
    steps.ioctl(
        1,
        "KVM_X86_SET_MSR_FILTER",
        || vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &filters),
        |()| format!("the host answers for {ranges:x?}"),
    )
}

impl Vm {
    /// Step 11: answers an access to a model-specific register; the end it is, if it is one.
    pub(crate) fn answer_msr(&mut self, access: &Msr) -> Result<Option<End>, Error> {
        let Msr { index, write } = *access;
        let Some(handler) = self.msrs.find(index) else { return Ok(Exit::Msr(*access).end()) };
        let mut guest = guest!(self);
        let answer = asked(
            || format!("MSR {index:#x}"),
            || match write {
                None => handler.read(&mut guest, index),
                Some(value) => {
                    handler.write(&mut guest, index, value).map(|it| it.then_some(value))
                }
            },
        );
        match answer {
            Ok(value) => {
                self.vcpu.set_msr(value);
                self.after_handler()
            }
            Err(end) => Ok(Some(end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Msrs, RANGE_MAX, RANGES_MAX, table};
    use std::ops::RangeInclusive;

    struct Nobody;
    impl Msrs for Nobody {}

    fn tried(ranges: &[RangeInclusive<u32>]) -> Result<usize, String> {
        let handlers = ranges.iter().map(|range| (range.clone(), Box::new(Nobody) as _)).collect();
        table(handlers).map(|table| table.ranges().count()).map_err(|error| error.to_string())
    }

    #[test]
    fn ranges_are_what_kvm_can_filter() {
        let edges = [0x7ff..=0x7ff, 0x900..=0x900, 0..=0, u32::MAX - RANGE_MAX + 1..=u32::MAX];
        assert_eq!(tried(&edges), Ok(4));
        #[expect(clippy::reversed_empty_ranges, reason = "that it is refused is the point")]
        let wrong = [
            (0x10..=0xf, "empty"),
            (0x800..=0x800, "x2APIC"),
            (0x700..=0x9ff, "x2APIC"),
            (0x8ff..=0x900, "x2APIC"),
            (0x1000..=0x1000 + RANGE_MAX, "at most 0x3000"),
            (0..=u32::MAX, "at most 0x3000"),
        ];
        for (range, words) in wrong {
            assert!(
                tried(std::slice::from_ref(&range)).expect_err("refused").contains(words),
                "{range:x?}"
            );
        }
        let twice = tried(&[0x10..=0x20, 0x20..=0x20]).expect_err("refused");
        assert!(twice.contains("another handler"), "{twice}");
        let many: Vec<_> = (0x1000..).take(RANGES_MAX + 1).map(|msr| msr..=msr).collect();
        assert_eq!(tried(&many[..RANGES_MAX]), Ok(RANGES_MAX));
        assert!(tried(&many).expect_err("refused").contains("16 ranges"));
    }
}
