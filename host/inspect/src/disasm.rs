//! The instruction that the guest was at.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, OpKind, Register,
};
use portcall::kvm_bindings::{kvm_regs, kvm_sregs};

/// EFER.LMA (SDM vol. 3, 2.2.1).
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;

/// One instruction: what it is, and what it says.
pub(crate) struct Decoded {
    pub(crate) instruction: Instruction,
    pub(crate) text: String,
}

/// How many bits wide the code is that a processor with these registers runs (SDM vol. 3, 5.2.1).
pub(crate) const fn code_bits(sregs: &kvm_sregs) -> u32 {
    match (sregs.efer & EFER_LONG_MODE_ACTIVE != 0 && sregs.cs.l != 0, sregs.cs.db != 0) {
        (true, _) => 64,
        (false, true) => 32,
        (false, false) => 16,
    }
}

/// Decodes the instruction that these bytes begin with, of code that is 16, 32 or 64 bits wide;
/// `None` if they do not begin one.
pub(crate) fn decode(bytes: &[u8], rip: u64, bits: u32) -> Option<Decoded> {
    let mut decoder = Decoder::with_ip(bits, bytes, rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return None;
    }
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    let mut text = String::new();
    formatter.format(&instruction, &mut text);
    Some(Decoded { instruction, text })
}

impl Decoded {
    /// The addresses of its memory operands, where the registers tell them.
    pub(crate) fn memory(&self, registers: &kvm_regs) -> Vec<u64> {
        if self.instruction.mnemonic() == iced_x86::Mnemonic::Lea {
            return Vec::new();
        }
        // Those of string instructions are kinds of their own: [rsi], [rdi].
        let is_memory = |kind| {
            matches!(
                kind,
                OpKind::Memory
                    | OpKind::MemorySegRSI
                    | OpKind::MemoryESRDI
                    | OpKind::MemorySegESI
                    | OpKind::MemoryESEDI
            )
        };
        let count = self.instruction.op_count();
        let operands = (0..count).filter(|i| is_memory(self.instruction.op_kind(*i)));
        operands
            .filter_map(|i| {
                self.instruction.virtual_address(i, 0, |register, _, _| value(registers, register))
            })
            .collect()
    }

    /// The value of its first operand, if that is a register.
    pub(crate) fn first_register(&self, registers: &kvm_regs) -> Option<(String, u64)> {
        let register = self.instruction.op0_register();
        let value = value(registers, register).filter(|_| register != Register::None)?;
        let bits = register.size() * 8;
        let cut = if bits < 64 { value & ((1 << bits) - 1) } else { value };
        Some((format!("{register:?}").to_lowercase(), cut))
    }

    /// Where an indirect call or jump through a register goes.
    pub(crate) fn branch_target(&self, registers: &kvm_regs) -> Option<u64> {
        let indirect = matches!(
            self.instruction.flow_control(),
            FlowControl::IndirectCall | FlowControl::IndirectBranch
        );
        let register = self.instruction.op0_register();
        value(registers, register).filter(|_| indirect && register != Register::None)
    }

    /// Whether its memory operand has to be a multiple of 16 (SDM vol. 1, 4.1.1): the aligned
    /// moves of SSE.
    pub(crate) fn wants_alignment(&self) -> bool {
        use iced_x86::Mnemonic as M;
        matches!(
            self.instruction.mnemonic(),
            M::Movaps | M::Movapd | M::Movdqa | M::Movntps | M::Movntpd | M::Movntdq
        )
    }

    /// Whether it is one that only ring 0 may execute (SDM vol. 3, 6.9).
    pub(crate) fn needs_ring_0(&self) -> bool {
        use iced_x86::Mnemonic as M;
        let control = |register: Register| register.is_cr() || register.is_dr();
        let moves_control = self.instruction.mnemonic() == M::Mov
            && (control(self.instruction.op0_register())
                || control(self.instruction.op1_register()));
        let privileged = matches!(
            self.instruction.mnemonic(),
            M::Lgdt
                | M::Lidt
                | M::Lldt
                | M::Ltr
                | M::Lmsw
                | M::Clts
                | M::Hlt
                | M::Invd
                | M::Wbinvd
                | M::Invlpg
                | M::Invpcid
                | M::Rdmsr
                | M::Wrmsr
                | M::Rdpmc
                | M::Swapgs
                | M::Sysret
                | M::Sysretq
                | M::Sysexit
                | M::Sysexitq
                | M::Xsetbv
                | M::Cli
                | M::Sti
                | M::Monitor
                | M::Mwait
        );
        moves_control || privileged
    }
}

/// A register's value in 64-bit mode; segments but FS and GS have base 0, and those two are not
/// known here.
fn value(registers: &kvm_regs, register: Register) -> Option<u64> {
    Some(match register.full_register() {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RSP => registers.rsp,
        Register::RBP => registers.rbp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        Register::CS | Register::DS | Register::ES | Register::SS => 0,
        _ => return None,
    })
}
