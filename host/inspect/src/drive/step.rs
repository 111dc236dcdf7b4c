//! One instruction at a time, and what the traps are in which that, and breakpoints, arrive.
//!
//! A step is by the trap flag, whoever sets it, which the guest must not see: it is taken out of its
//! registers, out of what it pushes, and out of its end. One that the guest has set, or sets by the
//! instruction, stays its own, with the trap that comes of it.

use super::{Drive, Pace, Turn, no_step};
use crate::disasm::code_bits;
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use portcall::kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_GUESTDBG_INJECT_BP, KVM_GUESTDBG_INJECT_DB, KVM_GUESTDBG_SINGLESTEP,
    kvm_regs,
};
use portcall::{Error, Exit, Gva, Stop};

/// RFLAGS.TF, the trap flag.
const TRAP_FLAG: u64 = 1 << 8;

/// In which byte of an image of the flags in memory it is, and where in that.
const TRAP_FLAG_BYTE: usize = 1;
const TRAP_FLAG_THERE: u8 = 1;

/// The vector of INT3.
const BREAKPOINT: u8 = 3;
/// The same as KVM has it in an exit for debuggers.
const BREAKPOINT_EXCEPTION: u32 = 3;

/// DR6: which of them it was, and whether it was a single step (SDM vol. 3, 19.2.3).
const WHICH: u64 = 0xf;

impl Drive<'_> {
    /// One instruction, with all exits that it makes.
    pub(super) fn step(&mut self, pace: Pace) -> Result<Turn, Error> {
        let before = self.vm.registers()?;
        let had_flag = before.rflags & TRAP_FLAG != 0;
        // Out of a stub the guest goes by an IRETQ, which takes the flag from the frame.
        if self.vm.fault().is_some() {
            self.vm.set_registers(&with_flag(before))?;
        }
        let does = self.does_with_flags(before)?;
        self.set_debug(KVM_GUESTDBG_SINGLESTEP).map_err(|it| no_step(&it))?;
        self.vm.hide_trap_flag(!had_flag);
        let mut is_own = false;
        let stepped = loop {
            let stop = self.vm.step()?;
            match stop {
                // A tick is no end of an instruction: the guest may be on its way into a stub.
                Stop::Interrupted => _ = self.what(stop, Pace::Step)?,
                Stop::Exit(Exit::Debug) => match self.stepped(had_flag, does)? {
                    Stepped::To(turn) => break turn,
                    Stepped::IntoItsOwn => {
                        is_own = true;
                        break Some(Turn::Interrupted);
                    }
                },
                Stop::Exit(_) => {
                    let turn = self.completed(stop)?;
                    // One that repeats makes an exit for each of its elements.
                    if turn.is_some() || self.vm.registers()?.rip != before.rip {
                        break turn;
                    }
                }
                stop => break Some(self.what(stop, pace)?),
            }
        };
        self.set_debug(0).map_err(|it| no_step(&it))?;
        if !matches!(stepped, Some(Turn::End(_))) {
            self.give_flags(before, does)?;
        }
        let turn = match (stepped, pace) {
            // Behind all that sets registers or debugging, which would take the injected one back.
            _ if is_own => self.refuse()?,
            (Some(turn), _) => turn,
            (None, Pace::Step) => Turn::Stepped,
            (None, Pace::Run) => Turn::Interrupted,
        };
        if !matches!(turn, Turn::End(_)) {
            self.vm.hide_trap_flag(false);
        }
        Ok(turn)
    }

    /// What remains of an instruction behind its exit; the end, if it comes to one.
    fn completed(&mut self, stop: Stop) -> Result<Option<Turn>, Error> {
        let failed = self.vm.complete().err();
        if let Some(outcome) = self.vm.outcome()? {
            return self.what(Stop::End(outcome.end), Pace::Step).map(Some);
        }
        failed.map_or(Ok(()), Err)?;
        self.what(stop, Pace::Step)?;
        Ok(None)
    }

    /// A trap while an instruction is stepped over. That of a flag that the guest has had is its own
    /// (SDM vol. 3, 19.3.1.4); so is one behind the instruction that is next where it has just set it:
    /// the KVM that emulates ring 0 has none right behind an IRET.
    fn stepped(&mut self, had_flag: bool, does: Flags) -> Result<Stepped, Error> {
        let trap = self.trap()?;
        let rip = self.vm.registers()?.rip;
        let is_own = had_flag || matches!(does, Flags::Takes(true, next) if next != rip);
        Ok(match trap {
            Trap::Step if is_own => Stepped::IntoItsOwn,
            Trap::Step => Stepped::To(None),
            Trap::Breakpoint if self.is_own_int3()? => Stepped::IntoItsOwn,
            trap => Stepped::To(Some(self.of_trap(trap)?)),
        })
    }

    /// Whether the INT3 that the guest is at is one of its own: nobody has put one there, or it is
    /// what stands beneath the one that is lifted.
    fn is_own_int3(&self) -> Result<bool, Error> {
        let at = self.vm.translate(Gva(self.vm.registers()?.rip))?;
        Ok(at.is_none_or(|it| !self.breakpoints.is_in(it.gpa)))
    }

    /// What the instruction that the guest is at does with its flags, as far as a step has to know.
    fn does_with_flags(&mut self, now: kvm_regs) -> Result<Flags, Error> {
        // As long as an instruction can be (SDM vol. 2, 2.3.11).
        let mut bytes = [0; 15];
        let read = self.scene().read(Gva(now.rip), &mut bytes);
        let bits = code_bits(&self.vm.system_registers()?);
        let mut decoder = Decoder::with_ip(bits, &bytes[..read], now.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        // IRET takes RIP and CS first, of the operand's size.
        let behind = match instruction.mnemonic() {
            Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => return Ok(Flags::Pushes),
            Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => 0,
            Mnemonic::Iret => 4,
            Mnemonic::Iretd => 8,
            Mnemonic::Iretq => 16,
            _ => return Ok(Flags::Keeps),
        };
        let mut image = [0; 24];
        let wanted = behind + TRAP_FLAG_BYTE + 1;
        if self.scene().read(Gva(now.rsp), &mut image[..wanted]) < wanted {
            // It comes to a fault.
            return Ok(Flags::Keeps);
        }
        let next = match behind {
            0 => instruction.next_ip(),
            _ => image.iter().take(behind / 2).rev().fold(0, |all, it| all << 8 | u64::from(*it)),
        };
        Ok(Flags::Takes(image[behind + TRAP_FLAG_BYTE] & TRAP_FLAG_THERE != 0, next))
    }

    /// Behind a step the guest has the trap flag that it would have without one, in its registers and
    /// in what it has pushed. `before` are its registers before the instruction.
    fn give_flags(&mut self, before: kvm_regs, does: Flags) -> Result<(), Error> {
        let had_flag = before.rflags & TRAP_FLAG;
        let now = self.vm.registers()?;
        let is_done = now.rip != before.rip;
        let flag = match does {
            Flags::Takes(flag, _) if is_done => u64::from(flag) * TRAP_FLAG,
            _ => had_flag,
        };
        if now.rflags & TRAP_FLAG != flag {
            self.vm.set_registers(&kvm_regs { rflags: now.rflags & !TRAP_FLAG | flag, ..now })?;
        }
        if does == Flags::Pushes && had_flag == 0 && is_done && now.rsp != before.rsp {
            self.clear_pushed_flag(now.rsp)?;
        }
        Ok(())
    }

    /// No flag of ours in what a PUSHF has pushed: a POPF would set it again.
    fn clear_pushed_flag(&mut self, rsp: u64) -> Result<(), Error> {
        let at = Gva(rsp.wrapping_add(TRAP_FLAG_BYTE as u64));
        let Some(found) = self.vm.translate(at)? else { return Ok(()) };
        let mut byte = [0];
        self.vm.memory().read(found.gpa, &mut byte)?;
        if byte[0] & TRAP_FLAG_THERE != 0 {
            // The flag is no part of the run, and so this is none either.
            self.vm.memory().write_unnoted(found.gpa, &[byte[0] & !TRAP_FLAG_THERE])?;
        }
        Ok(())
    }

    /// The trap is the guest's own.
    pub(super) fn refuse(&mut self) -> Result<Turn, Error> {
        let trap = self.trap()?;
        if self.vm.fault().is_none() && self.is_debug_exit() {
            // It never reached the guest, or the stub: there it goes now.
            let inject = match trap {
                Trap::Breakpoint => KVM_GUESTDBG_INJECT_BP,
                _ => KVM_GUESTDBG_INJECT_DB,
            };
            self.set_debug(inject).map_err(|it| no_step(&it))?;
            return Ok(Turn::Interrupted);
        }
        // An end that shows instructions shows the guest's own.
        let lifted = self.breakpoints.lift_all(self.vm.memory());
        let stop = self.vm.refuse_trap();
        self.breakpoints.lower_all(self.vm.memory(), lifted);
        self.what(stop?, Pace::Run)
    }

    /// Whether the last exit is one of KVM's for debuggers.
    fn is_debug_exit(&mut self) -> bool {
        // SAFETY: the descriptor stays this VM's, and nothing is run by it.
        unsafe { self.vm.vcpu_fd_mut() }.get_kvm_run().exit_reason == KVM_EXIT_DEBUG
    }

    /// Which trap the guest is in.
    pub(super) fn trap(&mut self) -> Result<Trap, Error> {
        if let Some(fault) = self.vm.fault() {
            return Ok(if fault.vector == BREAKPOINT { Trap::Breakpoint } else { Trap::Step });
        }
        // SAFETY: the descriptor stays this VM's, and nothing is run by it.
        let run = unsafe { self.vm.vcpu_fd_mut() }.get_kvm_run();
        if run.exit_reason != KVM_EXIT_DEBUG {
            return Ok(Trap::Breakpoint);
        }
        // SAFETY: the exit is one of KVM_EXIT_DEBUG, so this is what the union holds.
        let debug = unsafe { run.__bindgen_anon_1.debug.arch };
        Ok(match (debug.exception, debug.dr6 & WHICH) {
            (BREAKPOINT_EXCEPTION, _) => Trap::Breakpoint,
            (_, 0) => Trap::Step,
            (_, which) => Trap::Hardware(which),
        })
    }
}

/// The same with the trap flag.
const fn with_flag(registers: kvm_regs) -> kvm_regs {
    kvm_regs { rflags: registers.rflags | TRAP_FLAG, ..registers }
}

/// What a trap was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    Breakpoint,
    Step,
    Hardware(u64),
}

/// What an instruction does with the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flags {
    /// Nothing that the trap flag is in.
    Keeps,
    Pushes,
    /// It has them from memory: whether the trap flag is set there, and the instruction that is next.
    Takes(bool, u64),
}

/// What a step came to.
enum Stepped {
    /// The instruction was executed, or what is said.
    To(Option<Turn>),
    /// Into a trap of the guest's own: its INT3, or that of its trap flag.
    IntoItsOwn,
}
