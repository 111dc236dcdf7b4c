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
//! This is asked only of a guest whose page tables and control registers are the host's own, to the
//! last bit: of any other there is too much that could be. Most of those pages it cannot write to at
//! all. Where it can, they have to be missing in the log: that they are as they were does not do,
//! since it could have changed them back. (Not for all: processors with nested paging write to a
//! guest's page tables, as far as the log is concerned, whenever they read them; AMD64 Architecture
//! Programmer's Manual vol. 2, 15.25.5.) And the host must not have written to any.
//!
//! Where that does not hold, all of the vCPU is set, and the slots are made anew.

use crate::address_space::{Mapping, address_space, pages};
use crate::exception;
use crate::frozen::Frozen;
use crate::layout::{Gpa, HOLE_END, HOLE_START};
use crate::memory::Memory;
use crate::paging::Tables;
use crate::registers::{self, Ring};
use crate::snapshot::Origin;
use crate::state::State;
use crate::touched::Pages;
use std::ops::Range;

/// IA32_SYSENTER_CS (SDM vol. 4, table 2-2).
const SYSENTER_CS: u32 = 0x174;

/// The most bytes that are searched.
const SEARCHED_MAX: u64 = 128 << 20;

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
        origin: &Origin,
        frozen: &Frozen,
        state: &State,
    ) -> Option<Self> {
        let layout = &origin.layout;
        let space = address_space(layout, &origin.segments, origin.ring);
        let tables = Tables::build(Gpa(layout.tables.start), &space);
        if !has_the_hosts_registers(origin, state) || !tables.stand_in(memory) {
            return None;
        }
        let lies = |mapping: &Mapping| mapping.gpa..mapping.gpa + mapping.size;
        let mut all = Pages::none(&layout.ram);
        all.add_range(&layout.ram, layout.tables.clone())?;
        if origin.ring == Ring::Three {
            if !exception::overwritten(memory, layout).is_empty() {
                return None;
            }
            all.add_range(&layout.ram, layout.descriptors.start..layout.stubs.end)?;
        } else {
            let executable = space.iter().filter(|mapping| mapping.permissions.execute).map(lies);
            for range in executable.clone() {
                all.add_range(&layout.ram, range)?;
            }
            if can_change_more(frozen, executable) {
                return None;
            }
        }
        let mut writable = Pages::none(&layout.ram);
        // Ring 3 has no other pages than its own.
        let is_its = |mapping: &&Mapping| mapping.user || origin.ring == Ring::Zero;
        // Behind a window there is no memory: each access is the host's to answer.
        let hole = HOLE_START..HOLE_END;
        let is_its = |mapping: &&Mapping| is_its(mapping) && !hole.contains(&mapping.gpa);
        for mapping in space.iter().filter(is_its).filter(|mapping| mapping.permissions.write) {
            writable.add_range(&layout.ram, pages(&lies(mapping)))?;
        }
        writable.keep(&all);
        Some(Self { all, writable })
    }

    /// Whether it holds, if the guest wrote these pages, and the host those.
    pub(crate) fn holds(&self, by_guest: &Pages, by_host: &Pages) -> bool {
        !self.writable.meet(by_guest) && !self.all.meet(by_host)
    }
}

/// Whether paging is as the host has set it up; and, in ring 3, so is every way to ring 0, of which
/// none but exceptions is open. The ring is that of SS as well: KVM takes it from there.
fn has_the_hosts_registers(origin: &Origin, state: &State) -> bool {
    let (sregs, events) = (&state.sregs, &state.events);
    let mut ours = *sregs;
    registers::long_mode(&mut ours, &origin.layout, origin.ring);
    let is_paged =
        (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) == (ours.cr0, ours.cr3, ours.cr4, ours.efer);
    // System management mode has no paging.
    let can_come_to_smm = events.smi.smm != 0 || events.smi.pending != 0;
    let no_sysenter = state.msrs.iter().all(|msr| msr.index != SYSENTER_CS || msr.data == 0);
    let is_kept = || {
        (sregs.cs, sregs.ss, sregs.tr, sregs.ldt) == (ours.cs, ours.ss, ours.tr, ours.ldt)
            && sregs.gdt == ours.gdt
            && no_sysenter
    };
    // With a table of its own a guest may take a #DB, which leaves a mark in DR6, unseen.
    let has_idt = sregs.idt == ours.idt;
    is_paged && has_idt && !can_come_to_smm && (origin.ring == Ring::Zero || is_kept())
}

/// Whether one of these pages holds the bytes of an instruction that changes more, at any place: a
/// jump may lead into the middle of another.
fn can_change_more(frozen: &Frozen, executable: impl Iterator<Item = Range<u64>>) -> bool {
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
                [.., 0x0f] | [0x0f, 0x00 | 0x01 | 0x21 | 0x22 | 0x23 | 0x30 | 0xaa]
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
        // SWAPGS, INVLPGB.
        [0x0f, 0x01, 0xc1..=0xc6 | 0xd1 | 0xd4 | 0xd8..=0xdf | 0xf8 | 0xfe, ..] => true,
        // MOV to CR0, CR3, CR4: ModRM has the number in its middle, and all else of it is a register.
        [0x0f, 0x22, modrm, ..] => matches!(*modrm >> 3 & 7, 0 | 3 | 4),
        // LIDT; the others of its kind in memory (LGDT, LMSW, INVLPG) change registers that travel.
        [0x0f, 0x01, modrm, ..] => *modrm >> 3 & 7 == 3 && *modrm < 0xc0,
        // LKGS, by its number in the middle of ModRM.
        [0x0f, 0x00, modrm, ..] => *modrm >> 3 & 7 == 6,
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
            [0x0f, 0x01, 0x18], // lidt [rax]
            [0x0f, 0x00, 0xf0], // lkgs ax, behind f2
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
            [0x0f, 0x01, 0x10], // lgdt [rax]
            [0x0f, 0x01, 0xcf], // the end of one instruction, and add edi, ecx
            [0x0f, 0x22, 0xd0], // mov cr2, rax
            [0x0f, 0x20, 0xd8], // mov rax, cr3
            [0x0f, 0x0b, 0x30], // ud2
        ] {
            assert!(!changes_more(&bytes), "{bytes:02x?}");
        }
    }
}
