//! ELF core files of guests: `gdb GUEST.elf CORE` shows registers, memory and a backtrace.
//!
//! ```text
//! ELF header       ET_CORE, EM_X86_64 (ELF specification, 1.4)
//! program headers  PT_NOTE, then a PT_LOAD for each piece of the address space
//! note             NT_PRSTATUS: the registers
//! RAM              by guest-physical address, the ranges one behind the other
//! ```
//!
//! The memory is as the guest sees it: p_vaddr is guest-virtual by the page tables as they are,
//! p_paddr guest-physical, and memory that is mapped twice stands in the file once. The file is
//! sparse: pages that were never touched or are zero take no room on disk.

use crate::mappings;
use goblin::elf::header::{ELFMAG, EM_X86_64, ET_CORE, SIZEOF_IDENT};
use goblin::elf::note::NT_PRSTATUS;
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_LOAD, PT_NOTE};
use portcall::address_space::Mapping;
use portcall::kvm_bindings::{kvm_regs, kvm_sregs};
use portcall::layout::PAGE;
use portcall::segment::Permissions;
use portcall::sparse::Pagemap;
use portcall::{End, Gpa, Outcome, Vm};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Why there is no core file, or only a part of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The guest's registers or memory cannot be had.
    #[error("no core file: cannot read the guest: {0}")]
    Guest(#[from] portcall::Error),
    /// The file cannot be written; what stands in it is of no use.
    #[error("cannot write the core file: {0}. It needs a plain file on a disk with enough room")]
    File(#[from] io::Error),
}

/// Where the addresses in a core file come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressSpace {
    /// The guest's page tables: all that they map.
    Virtual,
    /// The guest's page tables, but they map too much, or lead into each other: what was found
    /// first.
    Cut,
    /// Paging is off, or the page tables lead to no RAM: RAM one to one.
    Physical,
}

/// Writes a core file of the guest as it is now, with the registers at
/// its end.
///
/// What was in the file before is gone. The file's own position is not used; it must not be
/// open for appending.
///
/// # Errors
/// The guest's registers cannot be read, or the file cannot be written: a full disk, a limit,
/// a pipe.
pub fn write(
    vm: &Vm,
    outcome: &Outcome,
    pagemap: &Pagemap,
    file: &mut File,
) -> Result<AddressSpace, Error> {
    let system = vm.system_registers()?;
    let status = prstatus(&outcome.registers, &system, &stopped(vm, outcome, &system));
    let ram = &vm.layout().ram;
    let (mappings, space) = address_space(vm, &system);
    let head = head(&mappings, ram, &note(b"CORE", NT_PRSTATUS, &status));
    file.set_len(0)?;
    file.set_len(head.len() as u64 + ram.iter().map(|range| range.end - range.start).sum::<u64>())?;
    file.write_all_at(&head, 0)?;
    let mut at = head.len() as u64;
    for range in ram {
        let write = |gpa: Gpa, bytes: &[u8]| file.write_all_at(bytes, at + (gpa.0 - range.start));
        vm.memory().each_run(range, pagemap, write)?;
        at += range.end - range.start;
    }
    Ok(space)
}

/// What the guest sees where.
fn address_space(vm: &Vm, system: &kvm_sregs) -> (Vec<Mapping>, AddressSpace) {
    const CR0_PAGING: u64 = 1 << 31;
    const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
    let ram = &vm.layout().ram;
    if system.cr0 & CR0_PAGING != 0 && system.efer & EFER_LONG_MODE_ACTIVE != 0 {
        let mappings = mappings::of(vm.memory(), ram, system.cr3);
        if !mappings.found.is_empty() {
            let space = if mappings.complete { AddressSpace::Virtual } else { AddressSpace::Cut };
            return (mappings.found, space);
        }
    }
    let permissions = Permissions { write: true, execute: true };
    let one_to_one = |range: &Range<u64>| Mapping {
        gva: range.start,
        gpa: range.start,
        size: range.end - range.start,
        permissions,
        user: false,
    };
    (ram.iter().map(one_to_one).collect(), AddressSpace::Physical)
}

/// How a guest stopped, as far as its general registers do not tell.
struct Stopped {
    signal: u16,
    cs: u64,
    ss: u64,
}

const SIGTRAP: u16 = 5;
const SIGSEGV: u16 = 11;

/// How the guest stopped: a caught exception tells its own segments, of which the registers now
/// are the stub's.
fn stopped(vm: &Vm, outcome: &Outcome, system: &kvm_sregs) -> Stopped {
    let signal = if matches!(outcome.end, End::Exception(_)) { SIGSEGV } else { SIGTRAP };
    let (cs, ss) = match vm.fault() {
        Some(fault) => (fault.cs.into(), fault.ss.into()),
        None => (system.cs.selector.into(), system.ss.selector.into()),
    };
    Stopped { signal, cs, ss }
}

/// Bytes in front of the registers in an elf_prstatus, and of all of it.
const PR_REG: usize = 112;
const PRSTATUS: usize = 336;

/// Linux's `struct elf_prstatus` on x86-64 (include/uapi/linux/elfcore.h), whose registers are a
/// `struct user_regs_struct` (arch/x86/include/asm/user_64.h).
fn prstatus(r: &kvm_regs, s: &kvm_sregs, stopped: &Stopped) -> [u8; PRSTATUS] {
    // Not in a system call: debuggers take another value for one to restart.
    let orig_rax = u64::MAX;
    let (fs_base, gs_base) = (s.fs.base, s.gs.base);
    let [ds, es, fs, gs] = [s.ds, s.es, s.fs, s.gs].map(|segment| u64::from(segment.selector));
    let (rip, cs, rflags, rsp, ss) = (r.rip, stopped.cs, r.rflags, r.rsp, stopped.ss);
    let registers = [
        r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx, r.rdx,
        r.rsi, r.rdi, orig_rax, rip, cs, rflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs,
    ];
    let mut bytes = [0; PRSTATUS];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    set(0, &u32::from(stopped.signal).to_le_bytes()); // pr_info.si_signo
    set(12, &stopped.signal.to_le_bytes()); // pr_cursig
    set(32, &1u32.to_le_bytes()); // pr_pid: the first vCPU; a thread 0 is none to gdb
    for (value, i) in registers.iter().zip(0..) {
        set(PR_REG + 8 * i, &value.to_le_bytes());
    }
    bytes
}

/// A note (ELF specification, 2.2 "Note Section"): sizes, type, and both parts padded to 4 bytes.
fn note(owner: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    // The size of the owner's name counts its NUL.
    for word in [owner.len() + 1, value.len()] {
        note.extend(u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
    }
    note.extend(kind.to_le_bytes());
    for part in [&[owner, &[0]].concat(), value] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// All that stands in front of RAM, whole pages of it.
fn head(mappings: &[Mapping], ram: &[Range<u64>], note: &[u8]) -> Vec<u8> {
    // `mappings` has a bound that keeps this far below PN_XNUM, where another count begins.
    let count = u16::try_from(mappings.len() + 1).unwrap_or(u16::MAX);
    let note_at = HEADER + PROGRAM_HEADER * u64::from(count);
    let ram_at = (note_at + note.len() as u64).next_multiple_of(PAGE);
    let mut head = header(count);
    let words = [note_at, 0, 0, note.len() as u64, note.len() as u64, 4];
    program_header(&mut head, PT_NOTE, 0, words);
    for mapping in mappings {
        let flag = |allowed, flag| if allowed { flag } else { 0 };
        let (write, execute) = (mapping.permissions.write, mapping.permissions.execute);
        let flags = PF_R | flag(write, PF_W) | flag(execute, PF_X);
        let offset = ram_at + offset_in(ram, mapping.gpa);
        // A segment that ends at 2^64 ends at 0 to gdb, and is empty: it loses its last page.
        let size = mapping.size.min((u64::MAX - mapping.gva) & !(PAGE - 1));
        let words = [offset, mapping.gva, mapping.gpa, size, size, PAGE];
        program_header(&mut head, PT_LOAD, flags, words);
    }
    head.extend(note);
    head.resize(head.len().next_multiple_of(4096), 0);
    head
}

/// Where in RAM, without the holes, an address is.
fn offset_in(ram: &[Range<u64>], gpa: u64) -> u64 {
    ram.iter().map(|range| gpa.clamp(range.start, range.end) - range.start).sum()
}

/// The ELF header: 64 bits, little-endian, version 1; no entry, no sections.
fn header(program_headers: u16) -> Vec<u8> {
    let mut header = [&ELFMAG[..], &[2, 1, 1]].concat();
    header.resize(SIZEOF_IDENT, 0);
    header.extend([ET_CORE, EM_X86_64].iter().flat_map(|half| half.to_le_bytes()));
    header.extend(1u32.to_le_bytes()); // e_version
    header.extend([0, HEADER, 0].iter().flat_map(|word| word.to_le_bytes()));
    header.extend([0; 4]); // e_flags
    let [header_size, entry_size] = [64u16, 56];
    let halves = [header_size, entry_size, program_headers, 0, 0, 0];
    header.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    header
}

/// A program header; `words` are p_offset, p_vaddr, p_paddr, p_filesz, p_memsz and p_align.
fn program_header(head: &mut Vec<u8>, kind: u32, flags: u32, words: [u64; 6]) {
    head.extend([kind, flags].iter().flat_map(|word| word.to_le_bytes()));
    head.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::{PR_REG, PRSTATUS, Stopped, head, note, prstatus};
    use goblin::elf::Elf;
    use goblin::elf::note::NT_PRSTATUS;
    use portcall::address_space::Mapping;
    use portcall::kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
    use portcall::layout::{GIB, HOLE_END, HOLE_START, PAGE};
    use portcall::segment::Permissions;
    use std::mem::{offset_of, size_of};

    fn segment(selector: u16, base: u64) -> kvm_segment {
        kvm_segment { selector, base, ..Default::default() }
    }

    #[test]
    fn registers_stand_where_linux_has_them() {
        let registers = kvm_regs {
            rax: 1,
            rbx: 2,
            rcx: 3,
            rdx: 4,
            rsi: 5,
            rdi: 6,
            rsp: 7,
            rbp: 8,
            r8: 9,
            r9: 10,
            r10: 11,
            r11: 12,
            r12: 13,
            r13: 14,
            r14: 15,
            r15: 16,
            rip: 17,
            rflags: 18,
        };
        let system = kvm_sregs {
            ds: segment(21, 0),
            es: segment(22, 0),
            fs: segment(23, 25),
            gs: segment(24, 26),
            ..Default::default()
        };
        let bytes = prstatus(&registers, &system, &Stopped { signal: 11, cs: 19, ss: 20 });
        macro_rules! check {
            ($($field:ident $value:literal)*) => {$(
                let at = PR_REG + offset_of!(libc::user_regs_struct, $field);
                assert_eq!(bytes[at..][..8], u64::to_le_bytes($value), stringify!($field));
            )*};
        }
        check!(rax 1 rbx 2 rcx 3 rdx 4 rsi 5 rdi 6 rsp 7 rbp 8 r8 9 r9 10 r10 11 r11 12 r12 13
               r13 14 r14 15 r15 16 rip 17 eflags 18 cs 19 ss 20 ds 21 es 22 fs 23 gs 24
               fs_base 25 gs_base 26 orig_rax 0xffff_ffff_ffff_ffff);
        // pr_fpvalid and its padding come behind them.
        assert_eq!(PRSTATUS, PR_REG + size_of::<libc::user_regs_struct>() + 8);
        assert_eq!(bytes[12], 11);
    }

    #[test]
    fn a_note_is_padded() {
        assert_eq!(
            note(b"CORE", 7, &[9; 5]),
            *b"\x05\0\0\0\x05\0\0\0\x07\0\0\0CORE\0\0\0\0\x09\x09\x09\x09\x09\0\0\0"
        );
    }

    #[test]
    fn memory_that_is_mapped_twice_stands_in_the_file_once() {
        let ram = [0..HOLE_START, HOLE_END..9 * GIB];
        let mapping =
            |gva, gpa, permissions| Mapping { gva, gpa, size: PAGE, permissions, user: false };
        let mappings = [
            mapping(PAGE, PAGE, Permissions::CODE),
            mapping(GIB, HOLE_END + PAGE, Permissions::DATA),
            mapping(!0 << 47, PAGE, Permissions::READ),
            Mapping {
                size: 2 * PAGE,
                ..mapping(0u64.wrapping_sub(2 * PAGE), 0, Permissions::READ)
            },
        ];
        let status = [0; PRSTATUS];
        let head = head(&mappings, &ram, &note(b"CORE", NT_PRSTATUS, &status));
        assert_eq!(head.len() as u64, PAGE);
        let elf = Elf::parse(&head).expect("an ELF file");
        let loads = elf.program_headers[1..].iter();
        let told: Vec<_> =
            loads.map(|h| (h.p_vaddr, h.p_paddr, h.p_offset, h.p_memsz, h.p_flags)).collect();
        let expected = [
            (PAGE, PAGE, 2 * PAGE, PAGE, 5),
            (GIB, HOLE_END + PAGE, HOLE_START + 2 * PAGE, PAGE, 6),
            (!0 << 47, PAGE, 2 * PAGE, PAGE, 4),
            (0u64.wrapping_sub(2 * PAGE), 0, PAGE, PAGE, 4),
        ];
        assert_eq!(told, expected);
        let notes: Vec<_> = elf.iter_note_headers(&head).expect("notes").flatten().collect();
        assert_eq!((notes[0].name, notes[0].desc), ("CORE", &status[..]));
    }
}
