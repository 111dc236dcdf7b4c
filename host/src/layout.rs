//! Where things are in the guest's memory: every address the host chooses, derived in one place.
//!
//! ```text
//! 0                the null page, unmapped
//! 0x1000           RAM: the image where it wants to be, the heap in the largest gap
//! tables.start     our range: page tables, descriptors, stubs, exception stacks, mailbox, boot
//!                  block, console window, stack guard, stack
//! min(memory, 3 GiB)   end of low RAM
//! 3 GiB .. 4 GiB   the hole: no RAM (KVM's TSS and identity map pages, the LAPIC, the IOAPIC), and
//!                  the windows of memory-mapped devices, if the host has any
//! 4 GiB            the rest of the memory, if there is more than 3 GiB
//! ```

#![expect(clippy::single_range_in_vec_init, reason = "lists of ranges are what a layout is")]

use crate::error::MemoryError;
use abi::boot::BootInfo;
use abi::console;
use std::fmt;
use std::ops::Range;

/// A guest-physical address: an offset into what the guest's hardware calls memory.
///
/// ```
/// use portcall::{Gpa, Image, Kvm, Vm};
///
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xf4])?);
/// let vm = Vm::builder(&kvm, &image).build()?;
/// // A flat image lies at 1 MiB.
/// let mut byte = [0];
/// vm.memory().read(Gpa(0x10_0000), &mut byte)?;
/// assert_eq!(byte, [0xf4]);
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Gpa(pub u64);

/// A guest-virtual address: what the guest's instructions use, before its page tables.
///
/// ```
/// use portcall::{Gpa, Gva, Image, Kvm, Vm};
///
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xf4])?);
/// let vm = Vm::builder(&kvm, &image).build()?;
/// // The host maps memory one to one, but for the null page.
/// assert_eq!(vm.translate(Gva(0x10_0000))?.map(|it| it.gpa), Some(Gpa(0x10_0000)));
/// assert!(vm.translate(Gva(0))?.is_none());
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Gva(pub u64);

macro_rules! hexadecimal {
    ($($address:ident)*) => {$(
        impl fmt::Display for $address {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl fmt::Debug for $address {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($address), "({:#x})"), self.0)
            }
        }
    )*};
}
hexadecimal!(Gpa Gva);

/// 1 KiB, in bytes.
pub const KIB: u64 = 1024;
/// 1 MiB, in bytes.
pub const MIB: u64 = 1024 * KIB;
/// 1 GiB, in bytes.
pub const GIB: u64 = 1024 * MIB;

/// Bytes of the smallest page.
pub const PAGE: u64 = 4 * KIB;
/// Bytes that one page directory entry maps without a page table.
pub const LARGE_PAGE: u64 = 2 * MIB;

/// No RAM from here ...
pub const HOLE_START: u64 = 3 * GIB;
/// ... up to here.
pub const HOLE_END: u64 = 4 * GIB;

/// Where KVM may keep the three pages it needs on Intel processors (KVM_SET_TSS_ADDR): in the
/// hole, where QEMU and the KVM API documentation's examples have them.
pub const TSS_ADDRESS: u64 = 0xfffb_d000;

/// What KVM keeps for itself behind the guest's back on Intel processors: the page of
/// KVM_SET_IDENTITY_MAP_ADDR, where it is by default, and the three of the TSS.
pub const KVM_PAGES: Range<u64> = TSS_ADDRESS - PAGE..TSS_ADDRESS + 3 * PAGE;

/// Where a processor has its local APIC (SDM vol. 3, 12.4.1), and a PC its first I/O APIC.
pub const LAPIC: Range<u64> = 0xfee0_0000..0xfee0_0000 + PAGE;
/// See [`LAPIC`].
pub const IOAPIC: Range<u64> = 0xfec0_0000..0xfec0_0000 + PAGE;

/// The first address an image may use: below is the null page.
pub const IMAGE_MIN: u64 = PAGE;

/// Where position-independent images go: clear of the first MiB by custom.
pub const PIE_BASE: u64 = MIB;

/// Bytes of the stack.
pub const STACK_SIZE: u64 = 256 * KIB;

/// Bytes of the page block that holds GDT, IDT and TSS with its I/O bitmap.
pub const DESCRIPTORS_SIZE: u64 = 3 * PAGE;

/// The least memory a VM can have.
pub const MEMORY_MIN: u64 = MIB;

/// The most memory a VM can have: a guest that is given no CPUID has 36 bits of
/// guest-physical address (SDM vol. 3, 4.1.4; KVM's `cpuid_query_maxphyaddr`), less the hole.
pub const MEMORY_MAX: u64 = (1 << 36) - (HOLE_END - HOLE_START);

/// Bytes of memory of a VM that was not told otherwise.
pub const MEMORY_DEFAULT: u64 = 16 * MIB;

/// Rounds up to a multiple of `to`, a power of two. The sums here stay far below 2^64.
pub(crate) const fn round_up(value: u64, to: u64) -> u64 {
    (value + to - 1) & !(to - 1)
}

/// What lies where in one VM's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// RAM, one range or two.
    pub ram: Vec<Range<u64>>,
    /// The page tables, the PML4 first. Read-only to the guest.
    pub tables: Range<u64>,
    /// GDT, IDT and TSS. Read-only to the guest.
    pub descriptors: Range<u64>,
    /// The exception stubs. Read and execute.
    pub stubs: Range<u64>,
    /// The stacks on which exceptions arrive.
    pub exception_stacks: Range<u64>,
    /// The [mailbox](abi::mailbox), if the image has one; else empty.
    pub mailbox: Range<u64>,
    /// Boot information, arguments, and at its end the console window's header.
    pub boot: Range<u64>,
    /// The console window's text; its header stands right before it.
    pub console: Range<u64>,
    /// The unmapped page that catches a stack that grows too far.
    pub guard: Range<u64>,
    /// The stack.
    pub stack: Range<u64>,
    /// Where [devices](crate::mmio) are seen, in the hole: in order, whole pages.
    pub windows: Vec<Range<u64>>,
}

impl Layout {
    /// Lays out `memory` bytes, without windows, with room for `tables` pages of page tables, `args` bytes of
    /// arguments and a mailbox of `mailbox` bytes, whole pages.
    ///
    /// # Errors
    /// `memory` is not whole pages, or too little or too much for a VM of this kind.
    pub fn new(memory: u64, tables: u64, args: u64, mailbox: u64) -> Result<Self, MemoryError> {
        if !memory.is_multiple_of(PAGE) {
            return Err(MemoryError::NotWholePages { size: memory });
        }
        if memory < MEMORY_MIN {
            return Err(MemoryError::TooSmall { size: memory });
        }
        if memory > MEMORY_MAX {
            return Err(MemoryError::TooLarge { size: memory });
        }
        let low = 0..memory.min(HOLE_START);
        let mut end = low.end;
        let mut take = |bytes: u64| -> Option<Range<u64>> {
            let start = end.checked_sub(bytes)?;
            Some(start..std::mem::replace(&mut end, start))
        };
        let block = (BootInfo::SIZE as u64).checked_add(args).filter(|bytes| *bytes <= memory);
        // From the top of low RAM down, so that everything below stays in one piece.
        let layout = (|| {
            let stack = take(STACK_SIZE)?;
            let guard = take(PAGE)?;
            let console = take(console::CAPACITY)?;
            let boot = take(round_up(block? + console::HEADER, PAGE))?;
            let mailbox = take(mailbox)?;
            let exception_stacks = take(PAGE)?;
            let stubs = take(PAGE)?;
            let descriptors = take(DESCRIPTORS_SIZE)?;
            let tables = take(tables.checked_mul(PAGE)?)?;
            let mut ram = vec![low];
            if memory > HOLE_START {
                ram.push(HOLE_END..HOLE_END + (memory - HOLE_START));
            }
            (tables.start >= IMAGE_MIN).then_some(Self {
                ram,
                tables,
                descriptors,
                stubs,
                exception_stacks,
                mailbox,
                boot,
                console,
                guard,
                stack,
                windows: Vec::new(),
            })
        })();
        layout.ok_or(MemoryError::NoRoom { size: memory })
    }

    /// Our range: what no image may use.
    #[must_use]
    pub const fn reserved(&self) -> Range<u64> {
        self.tables.start..self.stack.end
    }

    /// The address of the console window: its header, at the end of the boot block.
    #[must_use]
    pub const fn window(&self) -> u64 {
        self.console.start - console::HEADER
    }

    /// RSP at entry. As just after a `call` (System V ABI, 3.2.2: RSP + 8 is a multiple of 16),
    /// so that the entry may be an ordinary function; the return address there is 0.
    #[must_use]
    pub const fn stack_pointer(&self) -> u64 {
        self.stack.end - 8
    }

    /// The largest range of RAM that is neither in `used` nor ours, in whole pages.
    #[must_use]
    pub fn heap(&self, used: &[Range<u64>]) -> Range<u64> {
        let mut taken: Vec<Range<u64>> = used.to_vec();
        taken.push(0..IMAGE_MIN);
        taken.push(self.reserved());
        taken.sort_by_key(|range| range.start);
        let mut largest = 0..0;
        for ram in &self.ram {
            let mut free = ram.start;
            let ends = taken.iter().cloned().chain([ram.end..ram.end]);
            for range in ends.filter(|range| range.start <= ram.end) {
                let gap = free..(range.start & !(PAGE - 1)).max(free);
                if gap.end - gap.start > largest.end - largest.start {
                    largest = gap;
                }
                free = free.max(round_up(range.end, PAGE));
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::{GIB, HOLE_END, HOLE_START, Layout, MEMORY_MAX, MIB, PAGE};
    use crate::error::MemoryError;

    #[test]
    fn our_range_sits_at_the_top_of_low_ram_without_gaps() {
        for memory in [MIB, 2 * MIB, 16 * MIB, 3 * GIB, 8 * GIB, MEMORY_MAX] {
            let layout = Layout::new(memory, 12, 100, 0).expect("lays out");
            assert_eq!(layout.tables.end, layout.descriptors.start);
            assert_eq!(layout.descriptors.end, layout.stubs.start);
            assert_eq!(layout.stubs.end, layout.exception_stacks.start);
            assert_eq!(layout.exception_stacks.end, layout.mailbox.start);
            assert_eq!(layout.mailbox.end, layout.boot.start);
            assert_eq!(layout.boot.end, layout.console.start);
            assert_eq!(layout.console.end, layout.guard.start);
            assert_eq!(layout.guard.end, layout.stack.start);
            assert_eq!(layout.stack.end, memory.min(HOLE_START));
            assert_eq!(layout.stack_pointer() % 16, 8);
        }
    }

    #[test]
    fn ram_leaves_the_hole() {
        let layout = Layout::new(3 * GIB, 12, 0, 0).expect("lays out");
        assert_eq!(layout.ram, [0..HOLE_START]);
        let layout = Layout::new(8 * GIB, 12, 0, 0).expect("lays out");
        assert_eq!(layout.ram, [0..HOLE_START, HOLE_END..9 * GIB]);
    }

    #[test]
    fn memory_out_of_bounds_is_refused() {
        let error = |memory, args| Layout::new(memory, 12, args, 0).expect_err("refused");
        assert!(matches!(error(0, 0), MemoryError::TooSmall { .. }));
        assert!(matches!(error(MIB + 1, 0), MemoryError::NotWholePages { .. }));
        assert!(matches!(error(MIB - PAGE, 0), MemoryError::TooSmall { .. }));
        assert!(matches!(error(MEMORY_MAX + PAGE, 0), MemoryError::TooLarge { .. }));
        assert!(matches!(error(MIB, MIB), MemoryError::NoRoom { .. }));
        assert!(matches!(error(MIB, u64::MAX), MemoryError::NoRoom { .. }));
        assert!(matches!(Layout::new(MIB, u64::MAX, 0, 0), Err(MemoryError::NoRoom { .. })));
    }

    #[test]
    fn the_heap_is_the_largest_gap() {
        let layout = Layout::new(16 * MIB, 12, 0, 0).expect("lays out");
        let end = layout.reserved().start;
        assert_eq!(layout.heap(&[]), PAGE..end);
        assert_eq!(layout.heap(&[MIB..2 * MIB]), 2 * MIB..end);
        assert_eq!(layout.heap(&[14 * MIB..14 * MIB + 1]), PAGE..14 * MIB);
        assert_eq!(layout.heap(&[2 * MIB + 1..3 * MIB, MIB..2 * MIB + 1]), 3 * MIB..end);
        assert_eq!(layout.heap(&[PAGE..end]), 0..0);
        let layout = Layout::new(8 * GIB, 12, 0, 0).expect("lays out");
        assert_eq!(layout.heap(&[MIB..2 * MIB]), HOLE_END..9 * GIB);
        assert_eq!(layout.heap(&[5 * GIB..9 * GIB]), PAGE..layout.reserved().start);
    }
}
