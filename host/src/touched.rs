//! Which pages of a guest's memory are no longer as they were restored: those in KVM's dirty log,
//! and those that the host itself wrote, of which KVM knows nothing.
//!
//! The log stays as it is from one run to the next: a page that was written once stays writable,
//! costs no fault when it is written again, and is copied back each time. So the log is the
//! prediction of what the next run will write. Measured for 16 pages in ring 3, of a run alone:
//! with the log kept +8 us, cleared each time +80 us. It is begun afresh now and then, since a page
//! that is no longer written need not be copied, and when there are too many; what was written is
//! dropped then, so that it does not stay taken.

use crate::error::KvmError;
use crate::layout::PAGE;
use crate::memory::{self, Memory};
use crate::sys;
use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, kvm_enable_cap,
    kvm_userspace_memory_region,
};
use kvm_ioctls::VmFd;
use std::ops::Range;

/// The log begins afresh after so many times: what it costs then, a fault a page, is spread over
/// them.
const AGE: u32 = 64;

/// The most pages that are predicted, 128 MiB of them. A page that is written again costs a fault of
/// 4.3 us where it was not predicted, one that is not costs a copy of 0.2 where it was; so this is no
/// more than a bound on what a VM keeps.
const PREDICTED_MAX: usize = 1 << 15;

/// Bits of a word of a bitmap, a page each.
const WORD: u64 = 64;

/// A VM's slots, with KVM's log on.
#[derive(Debug)]
pub(crate) struct Log {
    slots: Vec<kvm_userspace_memory_region>,
    /// Whether KVM keeps the log until it is cleared.
    kept: bool,
    /// How often it was looked at since it began.
    age: u32,
}

/// Pages of a VM's memory: for each range of RAM a bitmap, a bit a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages(Vec<Vec<u64>>);

impl Log {
    /// Takes the memory away from KVM, with all that it derived from it (its own page tables, the
    /// processor's), lets it be changed, and gives it back with a log that has nothing yet.
    pub(crate) fn begin(
        vm: &VmFd,
        memory: &mut Memory,
        change: impl FnOnce(&mut Memory) -> Result<(), crate::Error>,
    ) -> Result<Self, crate::Error> {
        // Without it (before Linux 5.2) the log is cleared whenever it is read: right as well.
        let manual = kvm_enable_cap {
            cap: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
            args: [KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE.into(), 0, 0, 0],
            ..kvm_enable_cap::default()
        };
        let kept = vm.enable_cap(&manual).is_ok();
        let slots = memory.slots()?;
        for slot in &slots {
            memory::set_slot(vm, kvm_userspace_memory_region { memory_size: 0, ..*slot })?;
        }
        let changed = change(memory);
        let logged = |slot: &kvm_userspace_memory_region| kvm_userspace_memory_region {
            flags: kvm_bindings::KVM_MEM_LOG_DIRTY_PAGES,
            ..*slot
        };
        let slots: Vec<_> = slots.iter().map(logged).collect();
        for slot in &slots {
            memory::set_slot(vm, *slot)?;
        }
        changed?;
        Ok(Self { slots, kept, age: 0 })
    }

    /// The pages that the guest wrote, and those that the host did.
    pub(crate) fn pages(&self, vm: &VmFd, memory: &Memory) -> Result<(Pages, Pages), KvmError> {
        let log = |slot: &kvm_userspace_memory_region| {
            let size = usize::try_from(slot.memory_size).unwrap_or(usize::MAX);
            vm.get_dirty_log(slot.slot, size)
                .map_err(|error| KvmError::ioctl("KVM_GET_DIRTY_LOG", error))
        };
        let by_guest = self.slots.iter().map(log).collect::<Result<_, _>>()?;
        Ok((Pages(by_guest), Pages(memory.written())))
    }

    /// Whether it is time to begin it afresh: it is old, or there are too many pages.
    pub(crate) fn is_due(&mut self, pages: &Pages) -> bool {
        self.age += 1;
        self.age >= AGE || pages.count() > PREDICTED_MAX
    }

    /// Begins it afresh: those pages are as they were again.
    pub(crate) fn begin_afresh(&mut self, vm: &VmFd, pages: &Pages) -> Result<(), KvmError> {
        self.age = 0;
        if !self.kept {
            return Ok(());
        }
        for (slot, bitmap) in self.slots.iter().zip(&pages.0) {
            sys::clear_dirty_log(vm, slot.slot, slot.memory_size / PAGE, bitmap)
                .map_err(|source| KvmError::Ioctl { ioctl: "KVM_CLEAR_DIRTY_LOG", source })?;
        }
        Ok(())
    }
}

impl Pages {
    /// None, of RAM of these ranges.
    pub(crate) fn none(ram: &[Range<u64>]) -> Self {
        let words = |range: &Range<u64>| (range.end - range.start).div_ceil(PAGE * WORD);
        let word = |range| vec![0; usize::try_from(words(range)).unwrap_or(0)];
        Self(ram.iter().map(word).collect())
    }

    /// Adds the pages of a range of RAM; `None` where it is not all RAM.
    pub(crate) fn add_range(&mut self, ram: &[Range<u64>], range: Range<u64>) -> Option<()> {
        let is_in = |part: &&Range<u64>| part.start <= range.start && range.end <= part.end;
        let part = ram.iter().find(is_in)?;
        let words = self.0.get_mut(ram.iter().position(|it| it == part)?)?;
        for page in (range.start - part.start) / PAGE..(range.end - part.start).div_ceil(PAGE) {
            *words.get_mut(usize::try_from(page / WORD).ok()?)? |= 1 << (page % WORD);
        }
        Some(())
    }

    /// Adds all of the others.
    pub(crate) fn add(&mut self, others: &Self) {
        for (word, other) in self.words_mut().zip(others.words()) {
            *word |= other;
        }
    }

    /// Leaves only those that are others as well.
    pub(crate) fn keep(&mut self, others: &Self) {
        for (word, other) in self.words_mut().zip(others.words()) {
            *word &= other;
        }
    }

    fn words(&self) -> impl Iterator<Item = &u64> {
        self.0.iter().flatten()
    }

    fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.0.iter_mut().flatten()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether one of them is one of the others.
    pub(crate) fn meet(&self, others: &Self) -> bool {
        self.words().zip(others.words()).any(|(a, b)| a & b != 0)
    }

    /// Hands on each, by its guest-physical address, in runs.
    pub(crate) fn each<E>(
        &self,
        ram: &[Range<u64>],
        mut take: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        for (range, bitmap) in ram.iter().zip(&self.0) {
            for (first, word) in (0..).step_by(64).zip(bitmap).filter(|(_, word)| **word != 0) {
                let mut left = *word;
                while left != 0 {
                    let page = first + u64::from(left.trailing_zeros());
                    let gpa = range.start + page * PAGE;
                    if gpa < range.end {
                        take(gpa)?;
                    }
                    left &= left - 1;
                }
            }
        }
        Ok(())
    }
}
