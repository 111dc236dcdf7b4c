//! The trap flag of a step, and where an instruction leaves it: the guest must find none but its own.
//!
//! PUSHF pushes it, and so does the processor where an instruction goes into a handler of the guest's:
//! an IRET takes it from there.

use super::Drive;
use crate::disasm::code_bits;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use portcall::kvm_bindings::kvm_regs;
use portcall::{Error, Gva};

/// RFLAGS.TF, the trap flag.
pub(super) const TRAP_FLAG: u64 = 1 << 8;

/// In which byte of an image of the flags in memory it is, and where in that.
const TRAP_FLAG_BYTE: usize = 1;
const TRAP_FLAG_THERE: u8 = 1;

/// CF, PF, AF, ZF, SF, DF and OF, which an instruction may have changed before it faults, and RF, which
/// a fault sets in what it pushes (SDM vol. 3, 7.3.1.1).
const CHANGEABLE: u64 = 0x1_0cd5;

/// What the processor pushes in 64-bit mode, from the lowest address up: RIP, CS, RFLAGS, RSP and SS
/// (SDM vol. 3, 7.14.2); some have an error code below.
const FRAME: usize = 5;
/// Bytes of each.
const WORD: usize = 8;

/// How many words a handler may have on its stack besides, by when the step is seen to be over: there
/// are KVMs that stop only behind its first instruction, and those that run the guest on the processor
/// stop at its first exit.
const BESIDES: usize = 512;

/// What there is before a step.
pub(super) struct Before {
    pub(super) registers: kvm_regs,
    cs: u16,
    ss: u16,
    /// Where the instruction behind this one begins.
    next: u64,
    pub(super) does: Flags,
}

impl Before {
    /// Whether the guest has the trap flag itself.
    pub(super) const fn had_flag(&self) -> bool {
        self.registers.rflags & TRAP_FLAG != 0
    }

    /// Whether these are the words that a handler returns by: to this instruction, or behind it.
    fn is_frame(&self, words: &[u64]) -> bool {
        let &[rip, cs, rflags, rsp, ss] = words else { return false };
        let to = match self.does {
            // Behind it the flag is the guest's own.
            Flags::Takes(true, _) => [self.registers.rip; 2],
            Flags::Takes(false, next) => [self.registers.rip, next],
            _ => [self.registers.rip, self.next],
        };
        let before = self.registers.rflags;
        to.contains(&rip)
            && (cs, ss, rsp) == (self.cs.into(), self.ss.into(), self.registers.rsp)
            && (rflags ^ before) & !(CHANGEABLE | TRAP_FLAG) == 0
    }
}

/// What an instruction does with the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flags {
    /// Nothing that the trap flag is in.
    Keeps,
    Pushes,
    /// It has them from memory: whether the trap flag is set there, and the instruction that is next.
    Takes(bool, u64),
}

impl Drive<'_> {
    /// What the instruction is that the guest is at, as far as a step has to know.
    pub(super) fn before(&mut self) -> Result<Before, Error> {
        let (registers, sregs) = (self.vm.registers()?, self.vm.system_registers()?);
        // As long as an instruction can be (SDM vol. 2, 2.3.11).
        let mut bytes = [0; 15];
        let read = self.scene().read(Gva(registers.rip), &mut bytes);
        let bits = code_bits(&sregs);
        let mut decoder =
            Decoder::with_ip(bits, &bytes[..read], registers.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let does = self.does_with_flags(&instruction, registers.rsp);
        let (cs, ss) = (sregs.cs.selector, sregs.ss.selector);
        Ok(Before { registers, cs, ss, next: instruction.next_ip(), does })
    }

    fn does_with_flags(&mut self, instruction: &Instruction, rsp: u64) -> Flags {
        // IRET takes RIP and CS first, of the operand's size.
        let behind = match instruction.mnemonic() {
            Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => return Flags::Pushes,
            Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => 0,
            Mnemonic::Iret => 4,
            Mnemonic::Iretd => 8,
            Mnemonic::Iretq => 16,
            _ => return Flags::Keeps,
        };
        let mut image = [0; 24];
        let wanted = behind + TRAP_FLAG_BYTE + 1;
        if self.scene().read(Gva(rsp), &mut image[..wanted]) < wanted {
            // It comes to a fault.
            return Flags::Keeps;
        }
        let next = match behind {
            0 => instruction.next_ip(),
            _ => image.iter().take(behind / 2).rev().fold(0, |all, it| all << 8 | u64::from(*it)),
        };
        Flags::Takes(image[behind + TRAP_FLAG_BYTE] & TRAP_FLAG_THERE != 0, next)
    }

    /// Behind a step the guest has the trap flag that it would have without one, in its registers and
    /// in what it, or the processor for it, has pushed.
    pub(super) fn give_flags(&mut self, before: &Before) -> Result<(), Error> {
        let had_flag = before.registers.rflags & TRAP_FLAG;
        let now = self.vm.registers()?;
        let is_done = now.rip != before.registers.rip;
        let frame = self.frame(before)?;
        let flag = match before.does {
            // The way into a handler takes it away.
            _ if frame.is_some() => 0,
            Flags::Takes(flag, _) if is_done => u64::from(flag) * TRAP_FLAG,
            _ => had_flag,
        };
        if now.rflags & TRAP_FLAG != flag {
            self.vm.set_registers(&kvm_regs { rflags: now.rflags & !TRAP_FLAG | flag, ..now })?;
        }
        if had_flag != 0 {
            return Ok(());
        }
        if let Some(at) = frame {
            return self.clear_pushed_flag(at);
        }
        if before.does == Flags::Pushes && is_done && now.rsp != before.registers.rsp {
            self.clear_pushed_flag(now.rsp)?;
        }
        Ok(())
    }

    /// Where the flags are in the frame by which a handler returns to the instruction, if the guest is
    /// in one.
    pub(super) fn frame(&mut self, before: &Before) -> Result<Option<u64>, Error> {
        let now = self.vm.registers()?;
        // Out of the host's own stubs nobody returns by the guest's doing.
        let stays = (now.rip, now.rsp) == (before.next, before.registers.rsp);
        if stays || self.vm.fault().is_some() {
            return Ok(None);
        }
        let mut bytes = vec![0; (BESIDES + FRAME) * WORD];
        let read = self.scene().read(Gva(now.rsp), &mut bytes);
        let (whole, _) = bytes[..read].as_chunks::<WORD>();
        let words: Vec<u64> = whole.iter().map(|it| u64::from_le_bytes(*it)).collect();
        let found = words.windows(FRAME).position(|it| before.is_frame(it));
        // RFLAGS is the third.
        Ok(found.map(|at| now.rsp.wrapping_add(((at + 2) * WORD) as u64)))
    }

    /// No flag of ours in an image of the flags in memory: a POPF or an IRET would set it again.
    fn clear_pushed_flag(&mut self, image: u64) -> Result<(), Error> {
        let at = Gva(image.wrapping_add(TRAP_FLAG_BYTE as u64));
        let Some(found) = self.vm.translate(at)? else { return Ok(()) };
        let mut byte = [0];
        self.vm.memory().read(found.gpa, &mut byte)?;
        if byte[0] & TRAP_FLAG_THERE != 0 {
            // The flag is no part of the run, and so this is none either.
            self.vm.memory().write_unnoted(found.gpa, &[byte[0] & !TRAP_FLAG_THERE])?;
        }
        Ok(())
    }
}
