//! Driving a VM by [`Vm::step`] for several at once: a profiler, a coverage, a debugger.
//!
//! [`Driver`]s are told what happens, and may set breakpoints; [`run`] is `Vm::run` with them. One
//! who wants the wheel itself, as a debugger does, makes a [`Drive`] and turns it: [`Drive::turn`]
//! lets the guest do one thing, an instruction or all up to its next exit, and comes back.
//!
//! ```
//! use inspect::drive::{self, Driver, Scene};
//! use portcall::{Error, Gva, Image, Kvm, Vm};
//!
//! /// Counts how often an instruction is reached.
//! struct Times(Gva, u32);
//!
//! impl Driver for Times {
//!     fn begin(&mut self, scene: &mut Scene<'_>) -> Result<(), Error> {
//!         scene.insert(self.0).expect("it is mapped");
//!         Ok(())
//!     }
//!
//!     fn reached(&mut self, _: &mut Scene<'_>, _: Gva) -> Result<(), Error> {
//!         self.1 += 1;
//!         Ok(())
//!     }
//! }
//!
//! // mov ecx, 3; dec ecx; jnz -4; hlt
//! let image = Image::flat(&[0xb9, 3, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4])?;
//! let mut vm = Vm::builder(&Kvm::open()?, &image).memory(2 << 20).build()?;
//! let mut times = Times(Gva(image.entry().0 + 5), 0);
//! drive::run(&mut vm, vec![&mut times])?;
//! assert_eq!(times.1, 3);
//! # Ok::<(), Error>(())
//! ```

use crate::breakpoints::{Breakpoints, NoMemory, Owner};
use portcall::kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_BP, KVM_GUESTDBG_INJECT_DB,
    KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, kvm_guest_debug,
    kvm_regs,
};
use portcall::kvm_ioctls;
use portcall::{End, Error, Exit, Gpa, Gva, Outcome, Stop, Vm, walk};

/// RFLAGS.TF, the trap flag.
const TRAP_FLAG: u64 = 1 << 8;

/// The instruction PUSHF, behind its prefixes.
const PUSHF: u8 = 0x9c;

/// The vector of INT3.
const BREAKPOINT: u8 = 3;
/// The same as KVM has it in an exit for debuggers.
const BREAKPOINT_EXCEPTION: u32 = 3;

/// How many addresses the processor itself can stop at (SDM vol. 3, 19.2.1: DR0 to DR3).
pub const HARDWARE: usize = 4;

/// DR6: which of them it was, and whether it was a single step (SDM vol. 3, 19.2.3).
const WHICH: u64 = 0xf;

/// What goes along with a run. An error ends it; what a driver cannot do for reasons of its own it
/// keeps until it is asked.
pub trait Driver {
    /// Before the first instruction, or where the guest goes on from a snapshot.
    ///
    /// # Errors
    /// The host failed.
    fn begin(&mut self, scene: &mut Scene<'_>) -> Result<(), Error> {
        let _ = scene;
        Ok(())
    }

    /// The guest made an exit, which was answered, or a tick came.
    ///
    /// # Errors
    /// The host failed.
    fn stopped(&mut self, scene: &mut Scene<'_>, stop: &Stop) -> Result<(), Error> {
        let _ = (scene, stop);
        Ok(())
    }

    /// The guest is at a breakpoint of this driver's, before the instruction. Whether it stays or is
    /// taken away here, the guest goes on behind it.
    ///
    /// # Errors
    /// The host failed.
    fn reached(&mut self, scene: &mut Scene<'_>, at: Gva) -> Result<(), Error> {
        let _ = (scene, at);
        Ok(())
    }

    /// The run is over; all breakpoints are out of memory.
    ///
    /// # Errors
    /// The host failed.
    fn ended(&mut self, vm: &mut Vm, end: &End) -> Result<(), Error> {
        let _ = (vm, end);
        Ok(())
    }
}

/// What a driver sees and may do.
pub struct Scene<'a> {
    /// The VM. It is stepped by nobody but [`Drive`].
    pub vm: &'a mut Vm,
    breakpoints: &'a mut Breakpoints,
    owner: Owner,
}

impl Scene<'_> {
    /// Sets a breakpoint of this driver's.
    ///
    /// # Errors
    /// There is no memory.
    pub fn insert(&mut self, gva: Gva) -> Result<(), NoMemory> {
        self.insert_all([gva]).map_or(Ok(()), |missing| Err(NoMemory(missing)))
    }

    /// The same for many, with one look at the page tables' root; the first that there is no memory
    /// at. The others are set.
    pub fn insert_all(&mut self, places: impl IntoIterator<Item = Gva>) -> Option<Gva> {
        let cr3 = self.vm.system_registers().map_or(0, |it| it.cr3);
        let (memory, owner) = (self.vm.memory(), self.owner);
        let mut set = |gva| self.breakpoints.insert(memory, cr3, owner, gva).err();
        places.into_iter().filter_map(|gva| set(gva).map(|it| it.0)).reduce(|first, _| first)
    }

    /// Takes a breakpoint of this driver's away; whether there was one.
    pub fn remove(&mut self, gva: Gva) -> bool {
        self.breakpoints.remove(self.vm.memory(), self.owner, gva)
    }

    /// Guest-virtual memory as the guest has it, without breakpoints; how many bytes there are.
    pub fn read(&mut self, gva: Gva, bytes: &mut [u8]) -> usize {
        let cr3 = self.vm.system_registers().map_or(0, |it| it.cr3);
        read(self.vm, self.breakpoints, cr3, gva, bytes)
    }

    /// Does something with the VM while no breakpoint is in its memory.
    pub fn without_breakpoints<T>(&mut self, work: impl FnOnce(&mut Vm) -> T) -> T {
        let lifted = self.breakpoints.lift_all(self.vm.memory());
        let done = work(self.vm);
        self.breakpoints.lower_all(self.vm.memory(), lifted);
        done
    }
}

/// Guest-virtual memory without breakpoints, up to what is not mapped.
fn read(vm: &Vm, breakpoints: &Breakpoints, cr3: u64, gva: Gva, bytes: &mut [u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let Some(at) = gva.0.checked_add(done as u64) else { break };
        let Some(found) = walk::translate(vm.memory(), cr3, Gva(at)) else { break };
        let now = to_page_end(at).min(bytes.len() - done);
        let piece = &mut bytes[done..done + now];
        if vm.memory().read(found.gpa, piece).is_err() {
            break;
        }
        breakpoints.hide(found.gpa, piece);
        done += now;
    }
    done
}

/// Bytes from an address to the end of its page.
pub(crate) fn to_page_end(at: u64) -> usize {
    usize::try_from(4096 - at % 4096).unwrap_or(1)
}

/// How far a [`Drive::turn`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Up to the next exit, tick, trap or end.
    Run,
    /// One instruction.
    Step,
}

/// What a turn came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turn {
    /// An exit of the guest's, which was answered.
    Exit(Exit),
    /// A tick.
    Interrupted,
    /// The one instruction was executed.
    Stepped,
    /// A breakpoint of who turns. The guest is before the instruction; the next turn goes over it.
    Breakpoint(Gva),
    /// A hardware breakpoint or watchpoint: one bit each, of the four.
    Hardware(u64),
    /// The run is over.
    End(End),
}

/// A VM that is driven.
pub struct Drive<'a> {
    vm: &'a mut Vm,
    drivers: Vec<&'a mut dyn Driver>,
    breakpoints: Breakpoints,
    /// Where the guest is at a breakpoint that all owners know of.
    known: Option<Gva>,
    hardware: [u64; HARDWARE],
    /// DR7, which says what these are.
    control: u64,
    is_begun: bool,
}

/// [`Vm::run`] with drivers.
///
/// # Errors
/// The host failed.
pub fn run<'a>(vm: &'a mut Vm, drivers: Vec<&'a mut dyn Driver>) -> Result<Outcome, Error> {
    Drive::new(vm, drivers).run()
}

impl<'a> Drive<'a> {
    /// Takes the wheel. The VM catches traps from here on.
    pub fn new(vm: &'a mut Vm, drivers: Vec<&'a mut dyn Driver>) -> Self {
        vm.catch_traps(true);
        Self {
            vm,
            drivers,
            breakpoints: Breakpoints::default(),
            known: None,
            hardware: [0; HARDWARE],
            control: 0,
            is_begun: false,
        }
    }

    /// The VM.
    pub fn vm(&mut self) -> &mut Vm {
        self.vm
    }

    /// What who turns sees and may do; its breakpoints are its own.
    pub fn scene(&mut self) -> Scene<'_> {
        let owner = Owner(self.drivers.len());
        Scene { vm: self.vm, breakpoints: &mut self.breakpoints, owner }
    }

    /// The VM and the table.
    #[cfg(feature = "gdb")]
    pub(crate) fn parts(&mut self) -> (&mut Vm, &mut Breakpoints) {
        (self.vm, &mut self.breakpoints)
    }

    /// Takes all breakpoints of who turns away, those of the processor's too.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn release(&mut self) -> Result<(), Error> {
        self.breakpoints.remove_all(self.vm.memory(), Owner(self.drivers.len()));
        self.set_hardware([0; HARDWARE], 0).map_err(|it| no_step(&it))
    }

    /// Brings the guest between two instructions, where an exit or a tick has left it inside of one
    /// or in the host's own stub; what came of it, if something did.
    ///
    /// # Errors
    /// The host failed.
    pub fn settle(&mut self) -> Result<Option<Turn>, Error> {
        // A guest that jumps about in there itself is left where it is.
        for _ in 0..8 {
            let in_stub = self.vm.layout().stubs.contains(&self.vm.registers()?.rip);
            if self.vm.fault().is_some() || !in_stub {
                break;
            }
            match self.turn(Pace::Run)? {
                Turn::Exit(_) | Turn::Interrupted => {}
                turn => return Ok(Some(turn)),
            }
        }
        let failed = self.vm.complete().err();
        if let Some(outcome) = self.vm.outcome()? {
            return self.what(Stop::End(outcome.end), Pace::Run).map(Some);
        }
        failed.map_or(Ok(None), Err)
    }

    /// Tells the drivers that the run begins; the first turn does, where nobody has before.
    ///
    /// # Errors
    /// The host failed.
    pub fn begin(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_begun, true) {
            return Ok(());
        }
        // The KVMs that know it have INT3 come here whatever the guest's own IDT says.
        let _ = self.set_debug(0);
        self.tell(|driver, scene| driver.begin(scene))
    }

    /// To the end.
    ///
    /// # Errors
    /// The host failed.
    pub fn run(&mut self) -> Result<Outcome, Error> {
        loop {
            if let Turn::End(_) = self.turn(Pace::Run)?
                && let Some(outcome) = self.vm.outcome()?
            {
                return Ok(outcome);
            }
        }
    }

    /// Where the processor itself is to stop: DR0 to DR3, and DR7 for what they mean (SDM vol. 3,
    /// 19.2). Not every KVM does it, and none says so.
    ///
    /// # Errors
    /// KVM refuses them.
    pub fn set_hardware(
        &mut self,
        addresses: [u64; HARDWARE],
        control: u64,
    ) -> Result<(), kvm_ioctls::Error> {
        (self.hardware, self.control) = (addresses, control);
        self.set_debug(0)
    }

    /// KVM_SET_GUEST_DEBUG, with `more` besides what holds all the time.
    fn set_debug(&mut self, more: u32) -> Result<(), kvm_ioctls::Error> {
        let mut debug = kvm_guest_debug {
            control: KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP | more,
            ..kvm_guest_debug::default()
        };
        if self.control != 0 {
            debug.control |= KVM_GUESTDBG_USE_HW_BP;
            debug.arch.debugreg[..HARDWARE].copy_from_slice(&self.hardware);
            debug.arch.debugreg[7] = self.control;
        }
        self.vm.vcpu_fd().set_guest_debug(&debug)
    }

    /// Lets the guest do one thing. A run that is over gives its end again.
    ///
    /// # Errors
    /// The host failed.
    pub fn turn(&mut self, pace: Pace) -> Result<Turn, Error> {
        self.begin()?;
        let over = self.known.take().and_then(|at| self.over(at));
        if pace == Pace::Run && over.is_none() {
            let stop = self.vm.step()?;
            return self.what(stop, pace);
        }
        if let Some(gpa) = over {
            self.breakpoints.lift(self.vm.memory(), gpa);
        }
        let turn = self.step(pace);
        if let Some(gpa) = over {
            self.breakpoints.lower(self.vm.memory(), gpa);
        }
        turn
    }

    /// The breakpoint that the guest is to go over.
    fn over(&self, at: Gva) -> Option<Gpa> {
        let rip = self.vm.registers().ok()?.rip;
        let gpa = self.vm.translate(Gva(rip)).ok()??.gpa;
        (rip == at.0 && self.breakpoints.is_at(gpa)).then_some(gpa)
    }

    /// One instruction, with all exits that it makes.
    fn step(&mut self, pace: Pace) -> Result<Turn, Error> {
        let before = self.vm.registers()?;
        let had_flag = before.rflags & TRAP_FLAG != 0;
        // Out of a stub the guest goes by an IRETQ, which takes the flag from the frame.
        if self.vm.fault().is_some() {
            self.vm.set_registers(&with_flag(before))?;
        }
        let pushes_flag = !had_flag && self.is_pushf(before.rip);
        self.set_debug(KVM_GUESTDBG_SINGLESTEP).map_err(|it| no_step(&it))?;
        self.vm.hide_trap_flag(!had_flag);
        let mut is_own = false;
        let stepped = loop {
            let stop = self.vm.step()?;
            match stop {
                // A tick is no end of an instruction: the guest may be on its way into a stub.
                Stop::Interrupted => _ = self.what(stop, Pace::Step)?,
                Stop::Exit(Exit::Debug) => match self.stepped()? {
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
        if !had_flag && !matches!(stepped, Some(Turn::End(_))) {
            self.clear_flag()?;
            if pushes_flag {
                self.clear_pushed_flag(before)?;
            }
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

    /// A trap while an instruction is stepped over.
    fn stepped(&mut self) -> Result<Stepped, Error> {
        let trap = self.trap()?;
        Ok(match trap {
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

    /// The processor's own way to step leaves its flag where the guest would see it, and would go on
    /// to step.
    fn clear_flag(&mut self) -> Result<(), Error> {
        let registers = self.vm.registers()?;
        if registers.rflags & TRAP_FLAG != 0 {
            let rflags = registers.rflags & !TRAP_FLAG;
            self.vm.set_registers(&kvm_regs { rflags, ..registers })?;
        }
        Ok(())
    }

    /// Whether the instruction at an address is a PUSHF, of whatever size.
    fn is_pushf(&mut self, rip: u64) -> bool {
        // As long as an instruction can be (SDM vol. 2, 2.3.11).
        let mut bytes = [0; 15];
        let read = self.scene().read(Gva(rip), &mut bytes);
        bytes[..read].iter().find(|byte| !is_prefix(**byte)) == Some(&PUSHF)
    }

    /// The same in what a PUSHF has pushed: a POPF would set it again.
    fn clear_pushed_flag(&mut self, before: kvm_regs) -> Result<(), Error> {
        let now = self.vm.registers()?;
        if now.rip == before.rip || now.rsp == before.rsp {
            return Ok(());
        }
        // The flag is bit 8: the lowest of the image's second byte.
        let Some(found) = self.vm.translate(Gva(now.rsp.wrapping_add(1)))? else { return Ok(()) };
        let mut byte = [0];
        self.vm.memory().read(found.gpa, &mut byte)?;
        if byte[0] & 1 != 0 {
            // The flag is no part of the run, and so this is none either.
            self.vm.memory().write_unnoted(found.gpa, &[byte[0] & !1])?;
        }
        Ok(())
    }

    /// What a stop is to who turns.
    fn what(&mut self, stop: Stop, pace: Pace) -> Result<Turn, Error> {
        if stop == Stop::Exit(Exit::Debug) {
            let trap = self.trap()?;
            if trap == Trap::Step && pace == Pace::Run {
                return self.refuse();
            }
            return self.of_trap(trap);
        }
        if let Stop::End(end) = stop {
            self.breakpoints.clear(self.vm.memory());
            for driver in self.drivers.iter_mut() {
                driver.ended(self.vm, &end)?;
            }
            return Ok(Turn::End(end));
        }
        self.tell(|driver, scene| driver.stopped(scene, &stop))?;
        Ok(match stop {
            Stop::Exit(exit) => Turn::Exit(exit),
            _ => Turn::Interrupted,
        })
    }

    /// The trap is the guest's own.
    fn refuse(&mut self) -> Result<Turn, Error> {
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
        let stop = self.vm.refuse_trap()?;
        self.what(stop, Pace::Run)
    }

    /// Whether the last exit is one of KVM's for debuggers.
    fn is_debug_exit(&mut self) -> bool {
        // SAFETY: the descriptor stays this VM's, and nothing is run by it.
        unsafe { self.vm.vcpu_fd_mut() }.get_kvm_run().exit_reason == KVM_EXIT_DEBUG
    }

    /// Which trap the guest is in.
    fn trap(&mut self) -> Result<Trap, Error> {
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

    /// Tells those whose trap it is.
    fn of_trap(&mut self, trap: Trap) -> Result<Turn, Error> {
        match trap {
            Trap::Step => return Ok(Turn::Stepped),
            Trap::Hardware(which) => return Ok(Turn::Hardware(which)),
            Trap::Breakpoint => {}
        }
        let at = Gva(self.vm.registers()?.rip);
        let gpa = self.vm.translate(at)?.map(|it| it.gpa);
        let owners: Vec<Owner> =
            gpa.iter().flat_map(|gpa| self.breakpoints.owners_at(*gpa)).collect();
        if owners.is_empty() {
            return self.refuse();
        }
        self.known = Some(at);
        for (i, driver) in self.drivers.iter_mut().enumerate() {
            if owners.contains(&Owner(i)) {
                let breakpoints = &mut self.breakpoints;
                driver.reached(&mut Scene { vm: self.vm, breakpoints, owner: Owner(i) }, at)?;
            }
        }
        let is_own = owners.contains(&Owner(self.drivers.len()));
        Ok(if is_own { Turn::Breakpoint(at) } else { Turn::Interrupted })
    }

    /// Tells all drivers.
    fn tell(
        &mut self,
        mut what: impl FnMut(&mut dyn Driver, &mut Scene<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (i, driver) in self.drivers.iter_mut().enumerate() {
            let breakpoints = &mut self.breakpoints;
            what(&mut **driver, &mut Scene { vm: self.vm, breakpoints, owner: Owner(i) })?;
        }
        Ok(())
    }
}

/// Whether a byte is a prefix: a REX, a segment, a size, a repetition (SDM vol. 2, 2.1.1).
const fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf2 | 0xf3)
}

/// The same with the trap flag.
const fn with_flag(registers: kvm_regs) -> kvm_regs {
    kvm_regs { rflags: registers.rflags | TRAP_FLAG, ..registers }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        self.breakpoints.clear(self.vm.memory());
        self.vm.catch_traps(false);
        // Where it was never set, as in a jail that does not let it through, there is none to end.
        let _ = self.vm.vcpu_fd().set_guest_debug(&kvm_guest_debug::default());
    }
}

/// What a trap was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trap {
    Breakpoint,
    Step,
    Hardware(u64),
}

/// What a step came to.
enum Stepped {
    /// The instruction was executed, or what is said.
    To(Option<Turn>),
    /// It was an INT3 of the guest's own.
    IntoItsOwn,
}

/// A KVM that cannot step.
fn no_step(error: &kvm_ioctls::Error) -> Error {
    let source = std::io::Error::from_raw_os_error(error.errno());
    portcall::error::KvmError::Ioctl { ioctl: "KVM_SET_GUEST_DEBUG", source }.into()
}
