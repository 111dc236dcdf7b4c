//! What a guest cannot have changed since its snapshot, so that it need not be set again.
//!
//! Each ioctl on a vCPU costs some 5 us where KVM has no hardware's help, and a slot that is taken
//! away and given back 30 to 90. What a run of a guest can change without any of it showing is
//! little, as a rule: memory, which the dirty log has, the general and system registers, which
//! travel with KVM_RUN, and the floating-point state. All else takes an instruction that few guests
//! have, and that they cannot come by as long as the pages that they execute, and the tables that
//! say which these are, stand as they were:
//!
//! - In ring 0: none of the executable pages holds the bytes of one, at any place.
//! - In ring 3: such an instruction faults there, and every way to ring 0 leads to the host's own
//!   stubs, by descriptor tables that ring 3 cannot write.
//!
//! Where that does not hold, all of the vCPU is set, and the slots are made anew.

use crate::exception;
use crate::frozen::Frozen;
use crate::layout::{Gpa, Layout, PAGE};
use crate::memory::Memory;
use crate::paging::shift;
use crate::registers::{self, Ring};
use crate::state::State;
use crate::touched::Pages;
use std::collections::BTreeSet;
use std::ops::Range;
use x86_64::registers::control::{Cr0Flags, EferFlags};
use x86_64::structures::paging::PageTableFlags;

/// Second bytes, behind 0F, of what changes more than memory and the registers that travel with
/// KVM_RUN (SDM vol. 2, table A-3): 01 is XSETBV, SWAPGS, WRPKRU and INVLPG among others, 22 and 23
/// are MOV to a control or debug register, 30 is WRMSR, AA is RSM. And 21, MOV from a debug
/// register: a single step leaves a mark there that only this can see.
const CHANGES_MORE: [u8; 6] = [0x01, 0x21, 0x22, 0x23, 0x30, 0xaa];

/// IA32_SYSENTER_CS (SDM vol. 4, table 2-2).
const SYSENTER_CS: u32 = 0x174;

/// The most page tables that are walked, and the most bytes that are searched.
const TABLES_MAX: usize = 4096;
const SEARCHED_MAX: u64 = 128 << 20;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The pages that have to stand as they were for all the rest to have stayed as it was.
#[derive(Debug)]
pub(crate) struct Invariant(Pages);

impl Invariant {
    /// What there is to know of a guest that stands at its snapshot, in `memory` and `state`;
    /// `None` where it could change anything.
    pub(crate) fn of(
        memory: &Memory,
        layout: &Layout,
        frozen: &Frozen,
        state: &State,
    ) -> Option<Self> {
        let paged = Cr0Flags::from_bits_truncate(state.sregs.cr0).contains(Cr0Flags::PAGING)
            && EferFlags::from_bits_truncate(state.sregs.efer)
                .contains(EferFlags::LONG_MODE_ACTIVE);
        if !paged {
            return None;
        }
        let mut walk = Walk { memory, tables: BTreeSet::new(), executable: Vec::new() };
        walk.table(state.sregs.cr3 & ADDRESS, 4)?;
        let mut watched = Pages::none(&layout.ram);
        let mut watch = |page: Range<u64>| {
            for gpa in page.step_by(4096) {
                let range = layout.ram.iter().position(|ram| ram.contains(&gpa))?;
                watched.add(range, gpa - layout.ram[range].start);
            }
            Some(())
        };
        for table in &walk.tables {
            watch(*table..table + PAGE)?;
        }
        if is_kept_in_ring_3(memory, layout, state) {
            watch(layout.descriptors.clone())?;
            watch(layout.stubs.clone())?;
        } else {
            for page in &walk.executable {
                watch(page.clone())?;
            }
            if can_change_more(frozen, &walk.executable) {
                return None;
            }
        }
        Some(Self(watched))
    }

    /// Whether it holds, if those pages were written.
    pub(crate) fn holds(&self, touched: &Pages) -> bool {
        !self.0.meet(touched)
    }
}

/// Page tables as they are, each visited once for each level that it is used at.
struct Walk<'m> {
    memory: &'m Memory,
    tables: BTreeSet<u64>,
    /// Guest-physical, whole pages.
    executable: Vec<Range<u64>>,
}

impl Walk<'_> {
    /// `None` where there is too much of it, or a table is not in RAM.
    fn table(&mut self, table: u64, level: u8) -> Option<()> {
        // A table in two places, or of two levels, is nothing that is worth its own treatment.
        if !self.tables.insert(table) || self.tables.len() > TABLES_MAX {
            return None;
        }
        let mut entries = [0; 4096];
        self.memory.read(Gpa(table), &mut entries).ok()?;
        for entry in entries.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)) {
            let flags = PageTableFlags::from_bits_truncate(entry);
            if !flags.contains(PageTableFlags::PRESENT) {
                continue;
            }
            if level > 1 && !flags.contains(PageTableFlags::HUGE_PAGE) {
                self.table(entry & ADDRESS, level - 1)?;
            } else if !flags.contains(PageTableFlags::NO_EXECUTE) {
                // That a level above may forbid it makes this one page too many, no less safe.
                let size = 1 << shift(level);
                let start = entry & ADDRESS & !(size - 1);
                self.executable.push(start..start + size);
            }
        }
        Some(())
    }
}

/// Whether the guest is in ring 3, and every way from there leads to the host's own stubs, which
/// hold nothing but an OUT and a jump back to it.
fn is_kept_in_ring_3(memory: &Memory, layout: &Layout, state: &State) -> bool {
    let sregs = &state.sregs;
    let mut ours = *sregs;
    registers::long_mode(&mut ours, layout, Ring::Three);
    let no_syscall = sregs.efer & EferFlags::SYSTEM_CALL_EXTENSIONS.bits() == 0;
    let no_sysenter = state.msrs.iter().all(|msr| msr.index != SYSENTER_CS || msr.data == 0);
    sregs.cs.selector == ours.cs.selector
        && sregs.cs.dpl == 3
        && (sregs.gdt, sregs.idt) == (ours.gdt, ours.idt)
        && (sregs.tr.base, sregs.tr.limit) == (ours.tr.base, ours.tr.limit)
        && (sregs.cr0, sregs.cr3, sregs.cr4) == (ours.cr0, ours.cr3, ours.cr4)
        && sregs.ldt.base == 0
        && no_syscall
        && no_sysenter
        && exception::overwritten(memory, layout).is_empty()
}

/// Whether one of these pages holds the bytes of an instruction that changes more, at any place: a
/// jump may lead into the middle of another.
fn can_change_more(frozen: &Frozen, executable: &[Range<u64>]) -> bool {
    let mut searched = 0;
    for page in executable {
        for run in frozen.runs() {
            let part = run.start.max(page.start)..run.end.min(page.end);
            if part.start >= part.end {
                continue;
            }
            searched += part.end - part.start;
            let Some(bytes) = frozen.bytes(&part).filter(|_| searched <= SEARCHED_MAX) else {
                return true;
            };
            let found = bytes.windows(2).any(|it| it[0] == 0x0f && CHANGES_MORE.contains(&it[1]));
            // Its second byte may stand on the page that is seen behind this one.
            if found || bytes.last() == Some(&0x0f) {
                return true;
            }
        }
    }
    false
}
