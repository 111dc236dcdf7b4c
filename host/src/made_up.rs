//! Exits that no KVM made: for tests of handlers and services, and for fuzzers.
//!
//! ```
//! use portcall::kvm_bindings::KVM_EXIT_HLT;
//! use portcall::{End, Image, Kvm, Stop, Vm};
//!
//! let image = Image::flat(&[0xf4])?;
//! let mut vm = Vm::builder(&Kvm::open()?, &image).memory(2 << 20).build()?;
//! let (run, _elements) = vm.kvm_run();
//! run.exit_reason = KVM_EXIT_HLT;
//! assert_eq!(vm.answer_made_up()?, Stop::End(End::Halted));
//! # Ok::<(), portcall::Error>(())
//! ```

use crate::error::Error;
use crate::outcome::{Annotations, Stats};
use crate::ready::Kept;
use crate::vcpu::Synced;
use crate::vm::{Stop, Vm};
use kvm_bindings::kvm_run;

impl Vm {
    /// The kvm_run mapping: the structure, with the registers in it (KVM_CAP_SYNC_REGS), and all
    /// that lies behind it. The elements of a port access are at its `data_offset`, in bytes from
    /// the structure's start.
    pub fn kvm_run(&mut self) -> (&mut kvm_run, &mut [u8]) {
        self.vcpu.parts()
    }

    /// Step 11 for the exit that stands in the mapping, as if KVM_RUN had just returned with it: it
    /// is counted and seen by observers, the handlers are asked, and the answer stands in the
    /// mapping then. Registers are those in the mapping, the system registers among them.
    ///
    /// The guest itself has done nothing. A run that has ended goes on by this.
    ///
    /// # Errors
    /// The host failed.
    pub fn answer_made_up(&mut self) -> Result<Stop, Error> {
        self.vcpu.sync(Synced { general: true, system: true });
        (self.end, self.fault) = (None, None);
        self.traps.forget();
        let entered = self.steps.now();
        let exit = self.vcpu.decode();
        self.answered(exit, entered)
    }

    /// Forgets what came of the guest so far: counts, limits, text, input that was read ahead,
    /// annotations and the end, so that one row of made-up exits begins as another did. Memory stays as it is,
    /// and so do registers, and what handlers and services keep.
    pub fn forget(&mut self) {
        self.bounds.start_afresh(None);
        self.console.start_afresh();
        self.console.forget();
        self.input.forget();
        (self.stats, self.annotations) = (Stats::default(), Annotations::default());
        (self.end, self.fault, self.answered) = (None, None, 0);
        self.traps.forget();
        self.kept = Kept::default();
    }
}
