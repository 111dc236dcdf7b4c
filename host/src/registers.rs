//! Steps 5, 7 and 8: the registers that make a vCPU a 64-bit processor at the guest's entry.

use crate::exception;
use crate::layout::{Gpa, Gva, Layout};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use x86_64::registers::control::{Cr0Flags, Cr4Flags, EferFlags};

/// The privilege level that a guest starts in.
///
/// ```
/// use portcall::{Image, Kvm, Ring, Vm};
///
/// // mov eax, cs; and eax, 3; hlt
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0x8c, 0xc8, 0x83, 0xe0, 0x03, 0xf4])?);
/// for (ring, number) in [(Ring::Zero, 0), (Ring::Three, 3)] {
///     let mut vm = Vm::builder(&kvm, &image).ring(ring).build()?;
///     assert_eq!(vm.run()?.registers.rax, number);
/// }
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ring {
    /// All that the processor can do.
    #[default]
    Zero,
    /// User mode, with ports: native speed where KVM emulates ring 0, and page permissions that
    /// the guest cannot change. What needs ring 0 is a general protection fault.
    Three,
}

/// A flat segment: all of the address space, present, for the ring that its selector asks for.
/// In 64-bit mode only the attributes count (SDM vol. 3, 3.2.4).
const fn flat_segment(selector: u16, kind: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        dpl: if selector & 3 == 3 { 3 } else { 0 },
        db: 0,
        s: 1,
        l: 0,
        g: 1,
        avl: 0,
        unusable: 0,
        padding: 0,
    }
}

/// Steps 6 and 7: puts long mode into what KVM_GET_SREGS gave (SDM vol. 3, 10.8.5), with the
/// page tables and the descriptor tables of the layout.
pub(crate) fn long_mode(sregs: &mut kvm_sregs, layout: &Layout, ring: Ring) {
    let (code, data) = match ring {
        Ring::Zero => (exception::CODE_SELECTOR, exception::DATA_SELECTOR),
        Ring::Three => (exception::USER_CODE_SELECTOR, exception::USER_DATA_SELECTOR),
    };
    // Segment types of SDM vol. 3, 3.4.5.1: 11 is code (execute, read, accessed), 3 is data
    // (read, write, accessed). A code segment with L set and D clear is 64-bit.
    sregs.cs = kvm_segment { l: 1, ..flat_segment(code, 11) };
    let data = flat_segment(data, 3);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    // A busy 64-bit TSS (SDM vol. 3, 3.5), as LTR would have left it.
    sregs.tr = kvm_segment {
        base: exception::tss_address(layout).0,
        limit: exception::TSS_LIMIT,
        s: 0,
        g: 0,
        ..flat_segment(exception::TSS_SELECTOR, 11)
    };
    sregs.ldt = kvm_segment { unusable: 1, type_: 2, ..kvm_segment::default() };
    sregs.gdt = table(exception::gdt_address(layout), exception::GDT_SIZE);
    sregs.idt = table(exception::idt_address(layout), exception::IDT_SIZE);
    sregs.cr3 = layout.tables.start;
    // OSFXSR and OSXMMEXCPT: SSE works, as compilers of C expect of x86-64.
    sregs.cr4 =
        (Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE)
            .bits();
    // WRITE_PROTECT: read-only pages are read-only to ring 0 as well.
    sregs.cr0 = (Cr0Flags::PROTECTED_MODE_ENABLE
        | Cr0Flags::MONITOR_COPROCESSOR
        | Cr0Flags::EXTENSION_TYPE
        | Cr0Flags::NUMERIC_ERROR
        | Cr0Flags::WRITE_PROTECT
        | Cr0Flags::PAGING)
        .bits();
    sregs.efer =
        (EferFlags::LONG_MODE_ENABLE | EferFlags::LONG_MODE_ACTIVE | EferFlags::NO_EXECUTE_ENABLE)
            .bits();
}

/// The system registers that matter here, in words.
pub(crate) fn describe(sregs: &kvm_sregs) -> String {
    let kvm_sregs { cr0, cr3, cr4, efer, cs, ss, .. } = sregs;
    let bits = if cs.l == 1 { 64 } else { 16 };
    let (cs, ss) = (cs.selector, ss.selector);
    format!(
        "cr0 {cr0:#x}, cr3 {cr3:#x}, cr4 {cr4:#x}, efer {efer:#x}, cs {cs:#x} ({bits}-bit), ss {ss:#x}"
    )
}

const fn table(address: Gpa, size: u16) -> kvm_dtable {
    kvm_dtable { base: address.0, limit: size - 1, padding: [0; 3] }
}

/// Step 8: the general registers at the guest's entry.
pub(crate) fn at_entry(entry: Gva, layout: &Layout, ring: Ring) -> kvm_regs {
    kvm_regs {
        rip: entry.0,
        rsp: layout.stack_pointer(),
        // RBP is 0, which ends a walk along frame pointers.
        rbp: 0,
        rdi: layout.boot.start,
        // Bit 1 is always set (SDM vol. 1, 3.4.3); interrupts are off.
        // For ring 3 the I/O privilege level is 3: kvm_pvm wants it besides the TSS's bitmap.
        rflags: match ring {
            Ring::Zero => 2,
            Ring::Three => 2 | 3 << 12,
        },
        ..Default::default()
    }
}

/// The value of a general register by its name in lower case (`rax` .. `r15`, `rip`, `rflags`).
#[must_use]
pub fn by_name(registers: &kvm_regs, name: &str) -> Option<u64> {
    named(registers).into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The general registers with their names, in the order of KVM_GET_REGS.
#[must_use]
pub const fn named(r: &kvm_regs) -> [(&'static str, u64); 18] {
    [
        ("rax", r.rax),
        ("rbx", r.rbx),
        ("rcx", r.rcx),
        ("rdx", r.rdx),
        ("rsi", r.rsi),
        ("rdi", r.rdi),
        ("rsp", r.rsp),
        ("rbp", r.rbp),
        ("r8", r.r8),
        ("r9", r.r9),
        ("r10", r.r10),
        ("r11", r.r11),
        ("r12", r.r12),
        ("r13", r.r13),
        ("r14", r.r14),
        ("r15", r.r15),
        ("rip", r.rip),
        ("rflags", r.rflags),
    ]
}
