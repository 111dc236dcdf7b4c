//! Traps for debuggers: breakpoints and single steps, however a KVM has them arrive.
//!
//! A breakpoint is an INT3 (0xcc) that stands in place of an instruction's first byte, and a single
//! step is the trap flag (RFLAGS.TF) or KVM_GUESTDBG_SINGLESTEP. They arrive in three ways:
//!
//! | how | where |
//! | --- | --- |
//! | KVM_EXIT_DEBUG | where KVM_SET_GUEST_DEBUG works |
//! | an emulation failure at 0xcc | in the ring 0 that kvm_pvm emulates |
//! | #BP or #DB, in the host's own stub | in ring 3 of kvm_pvm; anywhere without KVM_SET_GUEST_DEBUG |
//!
//! With [`Vm::catch_traps`] all of them are one stop, [`Exit::Debug`], between two instructions: the
//! registers are the guest's there, can be set, and the next [`Vm::step`] goes on with them.
//!
//! ```
//! use portcall::{Exit, End, Image, Kvm, Ring, Stop, Vm};
//!
//! // int3; out 0xf4, al
//! let image = Image::flat(&[0xcc, 0xe6, 0xf4])?;
//! for ring in [Ring::Zero, Ring::Three] {
//!     let mut vm = Vm::builder(&Kvm::open()?, &image).memory(2 << 20).ring(ring).build()?;
//!     vm.catch_traps(true);
//!     assert_eq!(vm.step()?, Stop::Exit(Exit::Debug));
//!     let mut registers = vm.registers()?;
//!     assert_eq!(registers.rip, image.entry().0);
//!     registers.rip += 1;
//!     registers.rax = 7;
//!     vm.set_registers(&registers)?;
//!     assert_eq!(vm.step()?, Stop::End(End::Exited(7)));
//! }
//! # Ok::<(), portcall::Error>(())
//! ```

use crate::error::Error;
use crate::exception::{self, BREAKPOINT, DEBUG};
use crate::exit::{Exit, Io};
use crate::layout::{Gpa, Gva};
use crate::vm::{Stop, Vm};
use abi::port;
use kvm_bindings::kvm_regs;

/// The instruction INT3.
pub const INT3: u8 = 0xcc;

/// What debuggers have come back to them.
#[derive(Debug, Default)]
pub(crate) struct Traps {
    is_caught: bool,
    /// The exit as which the trap arrived that the guest is in.
    current: Option<Exit>,
    /// RFLAGS.TF is the debugger's, and not the guest's.
    hides_flag: bool,
}

/// RFLAGS.TF, the trap flag.
const TRAP_FLAG: u64 = 1 << 8;

impl Traps {
    /// Whether the guest is in a trap.
    pub(crate) const fn is_in_one(&self) -> bool {
        self.current.is_some()
    }

    /// The guest is in none any more.
    pub(crate) fn forget(&mut self) {
        (self.current, self.hides_flag) = (None, false);
    }

    /// RFLAGS as the guest has them.
    pub(crate) const fn guests(&self, rflags: u64) -> u64 {
        if self.hides_flag { rflags & !TRAP_FLAG } else { rflags }
    }
}

impl Vm {
    /// Has breakpoints and single steps come back as [`Exit::Debug`], in place of the ends that they
    /// are else; or no more. A trap is not the guest's in the eyes of limits, counts and recordings.
    ///
    /// At a breakpoint RIP is that of the INT3, on every KVM: one that goes on from there puts the
    /// instruction back first. A trap that is not the debugger's is given back by
    /// [`refuse_trap`](Self::refuse_trap); so is an instruction that KVM cannot emulate, which comes
    /// back as well where there is an INT3 among the bytes that KVM has read.
    pub const fn catch_traps(&mut self, caught: bool) {
        self.traps.is_caught = caught;
    }

    /// A debugger steps: RFLAGS.TF is its own, and neither an end nor the registers at one have it;
    /// or no more. What holds at an end holds from there on, for who looks at it later.
    pub const fn hide_trap_flag(&mut self, hidden: bool) {
        self.traps.hides_flag = hidden;
    }

    /// The trap that came back last was the guest's own: it is what it would have been, an end or an
    /// exit. Where the guest is in none, this is a [`step`](Self::step).
    ///
    /// Who has breakpoints in memory takes them out first, and puts them in again behind it: an
    /// instruction that KVM cannot emulate is shown as it is in memory by then.
    ///
    /// # Errors
    /// The host failed.
    pub fn refuse_trap(&mut self) -> Result<Stop, Error> {
        let Some(mut exit) = self.traps.current.take() else { return self.step() };
        self.fault = None;
        if let Exit::InternalError(error) = &mut exit {
            self.read_anew(&mut error.instruction)?;
        }
        self.answered(exit, None)
    }

    /// Puts what is in memory at RIP in place of the INT3s among the bytes that KVM read there.
    fn read_anew(&self, instruction: &mut [u8]) -> Result<(), Error> {
        let rip = self.vcpu.registers()?.rip;
        for (offset, byte) in (0..).zip(instruction).filter(|(_, byte)| **byte == INT3) {
            if let Some(found) = self.translate(Gva(rip.wrapping_add(offset)))? {
                self.memory.read(found.gpa, std::slice::from_mut(byte))?;
            }
        }
        Ok(())
    }

    /// Sets the general registers (KVM_SET_REGS), with which the guest goes on. After an exit
    /// [`complete`](Self::complete) its instruction before the registers are read; it is completed
    /// here in any case.
    ///
    /// # Errors
    /// The guest's instruction came to an end of it, or an ioctl failed.
    pub fn set_registers(&mut self, registers: &kvm_regs) -> Result<(), Error> {
        let Some(fault) = &mut self.fault else {
            self.complete()?;
            return Ok(self.vcpu.change_registers(|it| *it = *registers)?);
        };
        (fault.rip.0, fault.rsp.0) = (registers.rip, registers.rsp);
        fault.rflags = registers.rflags;
        // These three go into the frame.
        Ok(self.vcpu.change_registers(|it| {
            let (rip, rsp, rflags) = (it.rip, it.rsp, it.rflags);
            *it = kvm_regs { rip, rsp, rflags, ..*registers };
        })?)
    }

    /// What an exit is to who catches traps.
    pub(crate) fn caught(&mut self, exit: Exit) -> Result<Exit, Error> {
        if !self.traps.is_caught {
            return Ok(exit);
        }
        let is_trap = match &exit {
            Exit::Debug => true,
            // It stands in the place of the instruction, or of one behind it that KVM has read along.
            Exit::InternalError(error) => error.instruction.contains(&INT3),
            Exit::Io(Io { port: port::EXCEPTION, read: false, .. }) => self.is_trapped()?,
            _ => false,
        };
        if !is_trap {
            return Ok(exit);
        }
        self.note_exit(&exit)?;
        self.traps.current = Some(exit);
        Ok(Exit::Debug)
    }

    /// Whether the guest is in the stub of a trap; its registers are those at the trap then.
    fn is_trapped(&mut self) -> Result<bool, Error> {
        let (registers, sregs) = (self.vcpu.registers()?, self.vcpu.system_registers()?);
        let found = exception::decode(&self.memory, &self.origin.layout, &registers, &sregs);
        self.fault = found.filter(|it| matches!(it.vector, BREAKPOINT | DEBUG));
        if let Some(fault) = &mut self.fault
            && fault.vector == BREAKPOINT
        {
            fault.rip.0 = fault.rip.0.wrapping_sub(1);
        }
        Ok(self.fault.is_some())
    }

    /// Out of the trap that the guest is in: an IRETQ takes the frame, which is as the registers
    /// were set.
    pub(crate) fn leave_trap(&mut self) -> Result<(), Error> {
        if self.traps.current.take().is_none() {
            return Ok(());
        }
        let Some(fault) = self.fault.take() else { return Ok(()) };
        let registers = self.vcpu.registers_now();
        let registers =
            registers.map_err(|it| crate::error::KvmError::ioctl("KVM_GET_REGS", it))?;
        // The guest has this from nobody: a recording must not have it, nor a replay put it back.
        self.memory.write_unnoted(Gpa(registers.rsp), &fault.frame())?;
        let rip = exception::return_address(&self.origin.layout).0;
        Ok(self.vcpu.change_registers(|it| it.rip = rip)?)
    }
}
