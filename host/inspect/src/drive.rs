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

mod flags;
mod scene;
mod step;

pub use scene::{Driver, Scene};
#[cfg(feature = "gdb")]
pub(crate) use scene::{read_by, to_page_end};

use crate::breakpoints::{Breakpoints, Owner};
use portcall::kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, kvm_guest_debug,
};
use portcall::kvm_ioctls;
use portcall::{End, Error, Exit, Gpa, Gva, Outcome, Stop, Vm};
use step::Trap;

/// How many addresses the processor itself can stop at (SDM vol. 3, 19.2.1: DR0 to DR3).
pub const HARDWARE: usize = 4;

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

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        self.breakpoints.clear(self.vm.memory());
        self.vm.catch_traps(false);
        // Where it was never set, as in a jail that does not let it through, there is none to end.
        let _ = self.vm.vcpu_fd().set_guest_debug(&kvm_guest_debug::default());
    }
}

/// A KVM that cannot step.
fn no_step(error: &kvm_ioctls::Error) -> Error {
    ioctl_failed("KVM_SET_GUEST_DEBUG", error)
}

/// A failed ioctl.
pub(crate) fn ioctl_failed(ioctl: &'static str, error: &kvm_ioctls::Error) -> Error {
    let source = std::io::Error::from_raw_os_error(error.errno());
    portcall::error::KvmError::Ioctl { ioctl, source }.into()
}
