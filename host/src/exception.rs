//! Step 6, too: the tables by which an exception reaches the host, with no help from the guest.
//!
//! The host places a GDT, a TSS, an IDT and 32 stubs. Vector n's stub is `out EXCEPTION, al`,
//! alone in a slot of 4 bytes: at that exit RIP tells n, and RSP points at the frame that the
//! processor pushed (SDM vol. 3, 7.14.2). Every gate has a stack of its own, so that a guest
//! without a usable stack arrives here as well. A guest that loads its own IDT has left all
//! this behind.

use crate::error::MemoryError;
use crate::layout::{Gpa, Gva, Layout};
use crate::memory::Memory;
use abi::port;
use kvm_bindings::{kvm_regs, kvm_sregs};
use std::fmt;
use std::ops::Range;
use x86_64::structures::gdt::DescriptorFlags;

/// The vectors that the processor itself uses.
pub const VECTORS: u8 = 32;

/// The selectors are Linux's: 64-bit code and data for ring 0 ...
pub const CODE_SELECTOR: u16 = 0x10;
/// ... its data ...
pub const DATA_SELECTOR: u16 = 0x18;
/// ... the same for ring 3, which is the low two bits: data ...
pub const USER_DATA_SELECTOR: u16 = 0x28 | 3;
/// ... and code ...
pub const USER_CODE_SELECTOR: u16 = 0x30 | 3;
/// ... and the TSS, which takes two entries.
pub const TSS_SELECTOR: u16 = 0x40;

/// Bytes of the GDT.
pub const GDT_SIZE: u16 = TSS_SELECTOR + 16;
/// Bytes of the IDT.
pub const IDT_SIZE: u16 = 16 * VECTORS as u16;

const IDT_OFFSET: u64 = 0x100;
const TSS_OFFSET: u64 = 0x400;
const _: () = assert!(GDT_SIZE as u64 <= IDT_OFFSET);
const _: () = assert!(IDT_OFFSET + IDT_SIZE as u64 <= TSS_OFFSET);

/// Bytes of the TSS without its I/O permission bitmap.
const TSS_SIZE: u16 = 0x68;
/// The last byte of the TSS: behind it comes a bitmap of 65,536 bits and one byte more, which
/// is ones by SDM vol. 1, 19.5.2.
pub const TSS_LIMIT: u32 = TSS_SIZE as u32 + 8192;

/// Bytes of a stub's slot.
const STUB: u64 = 4;

/// The processor's own numbers for what may go wrong (SDM vol. 3, 7.3.1).
pub(crate) const DEBUG: u8 = 1;
pub(crate) const BREAKPOINT: u8 = 3;
const DOUBLE_FAULT: u8 = 8;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

/// Where the GDT stands.
pub(crate) const fn gdt_address(layout: &Layout) -> Gpa {
    Gpa(layout.descriptors.start)
}

/// Where the IDT stands.
pub(crate) const fn idt_address(layout: &Layout) -> Gpa {
    Gpa(layout.descriptors.start + IDT_OFFSET)
}

/// Where the TSS stands.
pub(crate) const fn tss_address(layout: &Layout) -> Gpa {
    Gpa(layout.descriptors.start + TSS_OFFSET)
}

/// Where a vector's stub stands. At its OUT, RIP is in there on every KVM.
pub(crate) const fn stub_address(layout: &Layout, vector: u8) -> Range<u64> {
    let start = layout.stubs.start + STUB * vector as u64;
    start..start + STUB
}

/// IRETQ.
const RETURN: [u8; 2] = [0x48, 0xcf];

/// Where an IRETQ stands, for a guest that is to go on from a frame: at the end of the stubs' page,
/// with nothing before it that would lead there.
pub(crate) const fn return_address(layout: &Layout) -> Gva {
    Gva(layout.stubs.end - RETURN.len() as u64)
}

/// All of it: what it is, where it stands, and its bytes.
fn parts(layout: &Layout) -> [(&'static str, Gpa, Vec<u8>); 6] {
    let tss_address = tss_address(layout);
    let end_of_bitmap = Gpa(tss_address.0 + u64::from(TSS_LIMIT));
    [
        ("GDT", gdt_address(layout), gdt(tss_address)),
        ("IDT", idt_address(layout), idt(Gva(layout.stubs.start))),
        ("TSS", tss_address, tss(layout).to_vec()),
        ("end of the I/O bitmap", end_of_bitmap, vec![0xff]),
        ("exception stubs", Gpa(layout.stubs.start), stubs()),
        ("way back from a trap", Gpa(return_address(layout).0), RETURN.to_vec()),
    ]
}

/// Writes all of it.
pub(crate) fn place(memory: &Memory, layout: &Layout) -> Result<(), MemoryError> {
    parts(layout).into_iter().try_for_each(|(_, at, bytes)| memory.write(at, &bytes))
}

/// What of it is no longer as the host placed it: a guest may map those pages writable.
#[must_use]
pub fn overwritten(memory: &Memory, layout: &Layout) -> Vec<&'static str> {
    let is_other = |at: Gpa, bytes: &[u8]| {
        let mut now = vec![0; bytes.len()];
        memory.read(at, &mut now).is_err() || now != bytes
    };
    let parts = parts(layout).into_iter();
    parts.filter(|(_, at, bytes)| is_other(*at, bytes)).map(|(name, ..)| name).collect()
}

fn gdt(tss: Gpa) -> Vec<u8> {
    let mut entries = [0u64; GDT_SIZE as usize / 8];
    let mut set = |selector: u16, bits: u64| entries[usize::from(selector / 8)] = bits;
    set(CODE_SELECTOR, DescriptorFlags::KERNEL_CODE64.bits());
    set(DATA_SELECTOR, DescriptorFlags::KERNEL_DATA.bits());
    set(USER_DATA_SELECTOR, DescriptorFlags::USER_DATA.bits());
    set(USER_CODE_SELECTOR, DescriptorFlags::USER_CODE64.bits());
    // A system descriptor of 16 bytes (SDM vol. 3, 9.2.3): type 11, a busy 64-bit TSS.
    let (limit, base) = (u64::from(TSS_LIMIT), tss.0);
    let low = (limit & 0xffff)
        | (base & 0xff_ffff) << 16
        | 0x8b << 40
        | (limit >> 16 & 0xf) << 48
        | (base >> 24 & 0xff) << 56;
    set(TSS_SELECTOR, low);
    set(TSS_SELECTOR + 8, base >> 32);
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// Interrupt gates to the stubs (SDM vol. 3, 7.14.1), each on an interrupt stack.
fn idt(stubs: Gva) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::from(IDT_SIZE));
    for vector in 0..VECTORS {
        let stub = (stubs.0 + STUB * u64::from(vector)).to_le_bytes();
        // A double fault may have come of the first stack, so it has the second.
        let stack = if vector == DOUBLE_FAULT { 2 } else { 1 };
        let [cs_low, cs_high] = CODE_SELECTOR.to_le_bytes();
        // Present, type 14: a 64-bit interrupt gate. Ring 3 may raise INT3 itself.
        let kind = if vector == BREAKPOINT { 0xee } else { 0x8e };
        bytes.extend([stub[0], stub[1], cs_low, cs_high, stack, kind]);
        bytes.extend(&stub[2..]);
        bytes.extend([0; 4]);
    }
    bytes
}

/// The TSS (SDM vol. 3, 9.7): the interrupt stacks, and where the I/O bitmap begins.
fn tss(layout: &Layout) -> [u8; TSS_SIZE as usize] {
    let stacks = &layout.exception_stacks;
    let middle = stacks.start + (stacks.end - stacks.start) / 2;
    let mut bytes = [0; TSS_SIZE as usize];
    let mut set = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    set(0x04, stacks.end); // RSP0
    set(0x24, stacks.end); // IST1
    set(0x2c, middle); // IST2
    bytes[0x66..].copy_from_slice(&TSS_SIZE.to_le_bytes());
    bytes
}

/// `out EXCEPTION, al`, and a jump back to it for a host that goes on.
fn stubs() -> Vec<u8> {
    let [port, _] = port::EXCEPTION.to_le_bytes();
    [0xe6, port, 0xeb, 0xfc].repeat(usize::from(VECTORS))
}

/// An exception as the processor delivered it.
///
/// ```
/// use portcall::{End, Image, Kvm, Vm};
///
/// // ud2
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0x0f, 0x0b])?);
/// let outcome = Vm::builder(&kvm, &image).build()?.run()?;
/// let End::Exception(exception) = outcome.end else { unreachable!("{}", outcome.end) };
/// assert_eq!((exception.vector, exception.error_code), (6, None));
/// assert_eq!(exception.rip.0, outcome.registers.rip);
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The vector, below [`VECTORS`].
    pub vector: u8,
    /// The error code, for the vectors that have one.
    pub error_code: Option<u64>,
    /// The instruction that faulted; for a trap the one behind it.
    pub rip: Gva,
    /// Its code segment: the low two bits are the ring it ran in.
    pub cs: u16,
    /// RFLAGS at it.
    pub rflags: u64,
    /// RSP at it.
    pub rsp: Gva,
    /// Its stack segment.
    pub ss: u16,
    /// The address whose access faulted, for a page fault.
    pub cr2: Option<Gva>,
}

/// Reads the exception whose stub the guest is in; `None` if it is in none, or has no frame
/// there (it wrote to the port itself, or jumped into a stub).
pub(crate) fn decode(
    memory: &Memory,
    layout: &Layout,
    registers: &kvm_regs,
    sregs: &kvm_sregs,
) -> Option<Exception> {
    if !layout.stubs.contains(&registers.rip) || !layout.exception_stacks.contains(&registers.rsp) {
        return None;
    }
    // RIP is that of the OUT or of what follows it, as the KVM has it: one slot both ways.
    let vector = u8::try_from((registers.rip - layout.stubs.start) / STUB).ok()?;
    if vector >= VECTORS {
        return None;
    }
    let mut at = registers.rsp;
    let mut pop = || {
        let word = memory.load_u64(Gpa(at)).ok();
        at += 8;
        word
    };
    let error_code = if has_error_code(vector) { Some(pop()?) } else { None };
    let [rip, cs, rflags, rsp, ss] = [pop()?, pop()?, pop()?, pop()?, pop()?];
    let cr2 = (vector == PAGE_FAULT).then_some(Gva(sregs.cr2));
    let selector = |word: u64| {
        let [low, high, ..] = word.to_le_bytes();
        u16::from_le_bytes([low, high])
    };
    let (cs, ss) = (selector(cs), selector(ss));
    Some(Exception { vector, error_code, rip: Gva(rip), cs, rflags, rsp: Gva(rsp), ss, cr2 })
}

/// SDM vol. 3, table 7-1.
const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

impl Exception {
    /// The vector's mnemonic and name (SDM vol. 3, table 7-1; AMD APM vol. 2, 8.2 for 28 to 30).
    #[must_use]
    pub const fn name(&self) -> (&'static str, &'static str) {
        match self.vector {
            0 => ("#DE", "divide error"),
            1 => ("#DB", "debug exception"),
            2 => ("NMI", "non-maskable interrupt"),
            3 => ("#BP", "breakpoint"),
            4 => ("#OF", "overflow"),
            5 => ("#BR", "bound range exceeded"),
            6 => ("#UD", "invalid opcode"),
            7 => ("#NM", "device not available"),
            8 => ("#DF", "double fault"),
            10 => ("#TS", "invalid TSS"),
            11 => ("#NP", "segment not present"),
            12 => ("#SS", "stack-segment fault"),
            13 => ("#GP", "general protection fault"),
            14 => ("#PF", "page fault"),
            16 => ("#MF", "x87 floating-point error"),
            17 => ("#AC", "alignment check"),
            18 => ("#MC", "machine check"),
            19 => ("#XM", "SIMD floating-point exception"),
            20 => ("#VE", "virtualization exception"),
            21 => ("#CP", "control protection exception"),
            28 => ("#HV", "hypervisor injection exception"),
            29 => ("#VC", "VMM communication exception"),
            30 => ("#SX", "security exception"),
            _ => ("#??", "reserved exception"),
        }
    }

    /// Whether it came of ring 3.
    #[must_use]
    pub const fn from_ring_3(&self) -> bool {
        self.cs & 3 == 3
    }

    /// Whether it may be a HLT in ring 3, which is a general protection fault there.
    pub(crate) const fn may_be_hlt(&self) -> bool {
        self.vector == GENERAL_PROTECTION && self.from_ring_3()
    }

    /// The registers at the faulting instruction, from those in the stub.
    #[must_use]
    pub const fn registers(&self, in_stub: kvm_regs) -> kvm_regs {
        kvm_regs { rip: self.rip.0, rsp: self.rsp.0, rflags: self.rflags, ..in_stub }
    }

    /// The frame that an IRETQ takes (SDM vol. 3, 7.14.3).
    pub(crate) fn frame(&self) -> [u8; 40] {
        let words = [self.rip.0, self.cs.into(), self.rflags, self.rsp.0, self.ss.into()];
        let mut bytes = [0; 40];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        bytes
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mnemonic, name) = self.name();
        write!(f, "{name} ({mnemonic}) at {}", self.rip)?;
        if let Some(code) = self.error_code {
            write!(f, ", error code {code:#x}")?;
        }
        if let Some(address) = self.cr2 {
            write!(f, ", address {address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{GDT_SIZE, IDT_SIZE, TSS_LIMIT, TSS_SELECTOR, gdt, idt, stubs};
    use crate::layout::{DESCRIPTORS_SIZE, Gpa, Gva};

    #[test]
    fn a_gate_leads_to_its_stub() {
        let idt = idt(Gva(0x1122_3344_5566_7000));
        assert_eq!(idt.len(), usize::from(IDT_SIZE));
        let gate = &idt[16 * 14..][..16];
        assert_eq!(
            gate,
            [0x38, 0x70, 0x10, 0, 1, 0x8e, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0]
        );
    }

    #[test]
    fn the_tss_descriptor_holds_base_and_limit() {
        let gdt = gdt(Gpa(0x1_8765_4321));
        assert_eq!(gdt.len(), usize::from(GDT_SIZE));
        let descriptor = &gdt[usize::from(TSS_SELECTOR)..];
        assert_eq!(
            descriptor,
            [0x68, 0x20, 0x21, 0x43, 0x65, 0x8b, 0, 0x87, 1, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn everything_fits_its_pages() {
        assert!(super::TSS_OFFSET + u64::from(TSS_LIMIT) < DESCRIPTORS_SIZE);
        assert_eq!(stubs().len(), 128);
    }
}
