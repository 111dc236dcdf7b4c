//! What a guest cannot have changed since its snapshot, so that it need not be set again.
//!
//! Each ioctl on a vCPU costs some 5 us where KVM has no hardware's help, and a slot that is taken
//! away and given back 30 to 90. What a run of a guest can change without any of it showing is
//! little, as a rule: memory, which the dirty log has, the general and system registers, which
//! travel with KVM_RUN, and the floating-point state. All else takes an instruction that few guests
//! have, and that they cannot come by as long as the pages that they execute, and the tables that
//! say which these are, stand as they were:
//!
//! - In ring 0: none of the executable pages holds the bytes of one, at any place, and CR0.WP keeps
//!   what is read-only as it is.
//! - In ring 3: such an instruction faults there, and every way to ring 0 leads to the host's own
//!   stubs, by descriptor tables that ring 3 cannot write.
//!
//! Those pages are mostly such that the guest cannot write to them at all. Where it can, they have
//! to be missing in the log: that they are as they were does not do, since it could have changed
//! them back. (Not for all: processors with nested paging write to a guest's page tables as far as
//! the log is concerned whenever they read them; AMD64 Architecture Programmer's Manual vol. 2,
//! 15.25.5.) And the host must not have written to any.
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

/// IA32_SYSENTER_CS (SDM vol. 4, table 2-2).
const SYSENTER_CS: u32 = 0x174;

/// The most page tables that are walked, and the most bytes that are searched.
const TABLES_MAX: usize = 4096;
const SEARCHED_MAX: u64 = 128 << 20;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The pages that have to stand as they were for all the rest to have stayed as it was.
#[derive(Debug)]
pub(crate) struct Invariant {
    all: Pages,
    /// Those of them that the guest can write to.
    writable: Pages,
}

impl Invariant {
    /// What there is to know of a guest that stands at its snapshot, in `memory` and `state`;
    /// `None` where it could change anything.
    pub(crate) fn of(
        memory: &Memory,
        layout: &Layout,
        frozen: &Frozen,
        state: &State,
    ) -> Option<Self> {
        let cr0 = Cr0Flags::from_bits_truncate(state.sregs.cr0);
        let is_long =
            EferFlags::from_bits_truncate(state.sregs.efer).contains(EferFlags::LONG_MODE_ACTIVE);
        if !cr0.contains(Cr0Flags::PAGING | Cr0Flags::WRITE_PROTECT) || !is_long {
            return None;
        }
        let mut walk = Walk { memory, tables: BTreeSet::new(), leaves: Vec::new() };
        walk.table(state.sregs.cr3 & ADDRESS, 4, true)?;
        let in_ring_3 = is_kept_in_ring_3(memory, layout, state);
        let mut all = Pages::none(&layout.ram);
        for table in &walk.tables {
            all.add_range(&layout.ram, *table..table + PAGE)?;
        }
        if in_ring_3 {
            all.add_range(&layout.ram, layout.descriptors.start..layout.stubs.end)?;
        } else {
            let executable = || walk.leaves.iter().filter(|leaf| leaf.executable);
            for leaf in executable() {
                all.add_range(&layout.ram, leaf.range.clone())?;
            }
            if can_change_more(frozen, executable().map(|leaf| &leaf.range)) {
                return None;
            }
        }
        let mut writable = Pages::none(&layout.ram);
        for leaf in walk.leaves.iter().filter(|leaf| leaf.writable && (leaf.user || !in_ring_3)) {
            // What is no RAM cannot be one of them.
            let _ = writable.add_range(&layout.ram, leaf.range.clone());
        }
        writable.keep(&all);
        Some(Self { all, writable })
    }

    /// Whether it holds, if the guest wrote these pages, and the host those.
    pub(crate) fn holds(&self, by_guest: &Pages, by_host: &Pages) -> bool {
        !self.writable.meet(by_guest) && !self.all.meet(by_host)
    }
}

/// A page, of whatever size, as the tables have it. What a level above forbids is left out: that
/// makes it one too many, no less safe, but for `user`, which is of all levels.
struct Leaf {
    range: Range<u64>,
    writable: bool,
    executable: bool,
    user: bool,
}

/// Page tables as they are.
struct Walk<'m> {
    memory: &'m Memory,
    tables: BTreeSet<u64>,
    leaves: Vec<Leaf>,
}

impl Walk<'_> {
    /// `None` where there is too much of it, or a table is not in RAM.
    fn table(&mut self, table: u64, level: u8, user: bool) -> Option<()> {
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
            let user = user && flags.contains(PageTableFlags::USER_ACCESSIBLE);
            if level > 1 && !flags.contains(PageTableFlags::HUGE_PAGE) {
                self.table(entry & ADDRESS, level - 1, user)?;
                continue;
            }
            let size = 1 << shift(level);
            let start = entry & ADDRESS & !(size - 1);
            self.leaves.push(Leaf {
                range: start..start + size,
                writable: flags.contains(PageTableFlags::WRITABLE),
                executable: !flags.contains(PageTableFlags::NO_EXECUTE),
                user,
            });
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
fn can_change_more<'r>(frozen: &Frozen, executable: impl Iterator<Item = &'r Range<u64>>) -> bool {
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
            // Behind the last byte may come any, of the page that is seen there.
            let last = bytes.len().saturating_sub(2);
            let may_begin = matches!(
                bytes[last..],
                [.., 0x0f] | [0x0f, 0x01 | 0x21 | 0x22 | 0x23 | 0x30 | 0xaa]
            );
            if may_begin || bytes.windows(3).any(changes_more) {
                return true;
            }
        }
    }
    false
}

/// Whether bytes may be an instruction that changes more than memory and the registers that travel
/// with KVM_RUN, or sees what only such a one, or a single step, can have changed (SDM vol. 2, tables
/// What a VM without CPUID does not have is left out.
const fn changes_more(bytes: &[u8]) -> bool {
    match bytes {
        // Those with a register: VMCALL, PCONFIG, WRMSRNS, XSETBV; AMD's VMRUN and on, with VMMCALL;
        // SWAPGS, INVLPGB. Those in memory (LGDT, LIDT, LMSW, INVLPG) change registers that travel.
        [0x0f, 0x01, 0xc1..=0xc6 | 0xd1 | 0xd4 | 0xd8..=0xdf | 0xf8 | 0xfe, ..] => true,
        // MOV to CR0, CR3, CR4: ModRM has the number in its middle, and all else of it is a register.
        [0x0f, 0x22, modrm, ..] => matches!(*modrm >> 3 & 7, 0 | 3 | 4),
        // MOV from and to a debug register; WRMSR; RSM.
        [0x0f, 0x21 | 0x23 | 0x30 | 0xaa, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::changes_more;

    #[test]
    fn what_changes_more_is_found_and_what_looks_alike_is_not() {
        for bytes in [
            [0x0f, 0x30, 0x90], // wrmsr
            [0x0f, 0x22, 0xd8], // mov cr3, rax
            [0x0f, 0x22, 0xc0], // mov cr0, rax
            [0x0f, 0x22, 0xe1], // mov cr4, rcx
            [0x0f, 0x23, 0xc0], // mov dr0, rax
            [0x0f, 0x21, 0xf0], // mov rax, dr6
            [0x0f, 0x01, 0xf8], // swapgs
            [0x0f, 0x01, 0xd1], // xsetbv
            [0x0f, 0x01, 0xc1], // vmcall
            [0x0f, 0x01, 0xd9], // vmmcall
        ] {
            assert!(changes_more(&bytes), "{bytes:02x?}");
        }
        for bytes in [
            [0x0f, 0x01, 0x46], // the end of one instruction, and add [rsi + ...], eax
            [0x0f, 0x01, 0x00], // a jump by 0x10f
            [0x0f, 0x01, 0x18], // lidt [rax]
            [0x0f, 0x01, 0xcf], // the end of one instruction, and add edi, ecx
            [0x0f, 0x22, 0xd0], // mov cr2, rax
            [0x0f, 0x20, 0xd8], // mov rax, cr3
            [0x0f, 0x0b, 0x30], // ud2
        ] {
            assert!(!changes_more(&bytes), "{bytes:02x?}");
        }
    }
}
