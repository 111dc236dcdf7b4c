//! One instruction at a time, and what the traps are in which that, and breakpoints, arrive.
//!
//! A step is by the trap flag, whoever sets it, which the guest must not see: it is taken out of its
//! registers, out of what it pushes, and out of its end. One that the guest has set, or sets by the
//! instruction, stays its own, with the trap that comes of it.

use super::flags::{Before, Flags, TRAP_FLAG};
use super::{Drive, Pace, Turn, no_step};
use portcall::kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_GUESTDBG_INJECT_BP, KVM_GUESTDBG_INJECT_DB, KVM_GUESTDBG_SINGLESTEP,
    kvm_regs,
};
use portcall::{Error, Exit, Gva, Stop};

/// The vector of INT3.
const BREAKPOINT: u8 = 3;
/// The same as KVM has it in an exit for debuggers.
const BREAKPOINT_EXCEPTION: u32 = 3;

/// DR6: which of them it was, and whether it was a single step (SDM vol. 3, 19.2.3).
const WHICH: u64 = 0xf;

impl Drive<'_> {
    /// One instruction, with all exits that it makes.
    pub(super) fn step(&mut self, pace: Pace) -> Result<Turn, Error> {
        let before = self.before()?;
        // Out of a stub the guest goes by an IRETQ, which takes the flag from the frame.
        if self.vm.fault().is_some() {
            self.vm.set_registers(&with_flag(before.registers))?;
        }
        self.set_debug(KVM_GUESTDBG_SINGLESTEP).map_err(|it| no_step(&it))?;
        self.vm.hide_trap_flag(!before.had_flag());
        let mut is_own = false;
        let stepped = loop {
            let stop = self.vm.step()?;
            match stop {
                // A tick is no end of an instruction: the guest may be on its way into a stub.
                Stop::Interrupted => _ = self.what(stop, Pace::Step)?,
                Stop::Exit(Exit::Debug) => match self.stepped(&before)? {
                    Stepped::To(turn) => break turn,
                    Stepped::IntoItsOwn => {
                        is_own = true;
                        break Some(Turn::Interrupted);
                    }
                },
                Stop::Exit(_) => {
                    let turn = self.completed(stop)?;
                    // One that repeats makes an exit for each of its elements.
                    if turn.is_some() || self.vm.registers()?.rip != before.registers.rip {
                        break turn;
                    }
                }
                stop => break Some(self.what(stop, pace)?),
            }
        };
        self.set_debug(0).map_err(|it| no_step(&it))?;
        if !matches!(stepped, Some(Turn::End(_))) {
            self.give_flags(&before)?;
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
    /// Where an instruction has faulted into a handler, it has come to no end, and to no trap of that.
    fn stepped(&mut self, before: &Before) -> Result<Stepped, Error> {
        let trap = self.trap()?;
        let rip = self.vm.registers()?.rip;
        let is_own = before.had_flag() && self.frame(before)?.is_none()
            || matches!(before.does, Flags::Takes(true, next) if next != rip);
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

/// What a step came to.
enum Stepped {
    /// The instruction was executed, or what is said.
    To(Option<Turn>),
    /// Into a trap of the guest's own: its INT3, or that of its trap flag.
    IntoItsOwn,
}
