//! Back to a snapshot: what was touched is put back, or, where that would not do, all of it.
//!
//! | | what is put back fast | what has to hold for it |
//! | --- | --- | --- |
//! | memory | the pages in KVM's dirty log, and those that the host wrote | the VM was restored to this snapshot before |
//! | the vCPU | general and system registers and events, with the next KVM_RUN; the floating-point state | the guest cannot have changed more (`invariant`), and no exit since was a #DB or anything but a plain one |
//!
//! Else the memory is taken from KVM, shows the snapshot's pages, and is given back, so that
//! nothing stays that KVM or a processor derived from page tables that are no longer there; and all
//! of the vCPU is set. Both were measured: with 16 pages touched, some 8 us and some 150.

use crate::error::{Error, SnapshotError};
use crate::exception;
use crate::exit::Exit;
use crate::invariant::Invariant;
use crate::layout::{Gpa, PAGE};
use crate::outcome::{Annotations, End, Stats};
use crate::snapshot::Snapshot;
use crate::state::Clock;
use crate::touched::Log;
use crate::vm::Vm;
use abi::port;
use std::sync::Arc;

/// What a VM was restored to, and what has been written since.
#[derive(Debug)]
pub(crate) struct Restored {
    snapshot: Snapshot,
    log: Log,
    /// Whether there was an exit since that leaves something in the processor.
    is_marked: bool,
}

/// What a [`Vm::restore`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// So many pages were put back, and what of the vCPU can have changed.
    Touched {
        /// Pages of 4 KiB.
        pages: usize,
    },
    /// All of the memory was shown anew, and all of the vCPU was set.
    All,
}

static ZERO: [u8; 4096] = [0; 4096];

impl Vm {
    /// Goes back to a snapshot of this VM, or of another that was made alike: of the same image,
    /// with as much memory, the same arguments and the same windows. Counts, annotations and limits begin anew; a VM
    /// that was stopped stays so. A guest that waited for calls ([`End::Serving`]) does so again, without a run.
    ///
    /// # Errors
    /// The VM was made otherwise; it is recorded; KVM failed, and then the VM is of no more use.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<Effort, Error> {
        if self.tape.is_some() {
            return Err(SnapshotError::Taped.into());
        }
        let effort = match self.put_back(snapshot)? {
            Some(pages) => Effort::Touched { pages },
            None => self.rebuild(snapshot)?,
        };
        self.bounds.start_afresh(None);
        self.console.start_afresh();
        self.console.resume_at(snapshot.0.taken);
        self.answered = snapshot.0.answered;
        self.kept.restore(&snapshot.0.kept);
        (self.stats, self.annotations) = (Stats::default(), Annotations::default());
        // A guest that waits need not be run to where it does: a call is one KVM_RUN, not two.
        self.end = snapshot.0.waits.then_some(End::Serving);
        self.fault = None;
        self.traps.forget();
        self.is_fresh = true;
        Ok(effort)
    }

    /// The fast way: how many pages it were; `None`, and nothing done, where that would not do.
    fn put_back(&mut self, snapshot: &Snapshot) -> Result<Option<usize>, Error> {
        let is_it = |restored: &&mut Restored| Arc::ptr_eq(&restored.snapshot.0, &snapshot.0);
        let Some(restored) = self.restored.as_mut().filter(is_it) else { return Ok(None) };
        let state = &snapshot.0.state;
        let Some(Some(invariant)) = snapshot.0.invariant.get() else { return Ok(None) };
        if restored.is_marked {
            return Ok(None);
        }
        if self.vcpu.may_pend(state.regs.rip) {
            self.vcpu.discard()?;
        }
        let (by_guest, by_host) = restored.log.pages(&self.vm, &self.memory)?;
        if !invariant.holds(&by_guest, &by_host) {
            return Ok(None);
        }
        let mut touched = by_guest;
        touched.add(&by_host);
        let frozen = &snapshot.0.frozen;
        if restored.log.is_due(&touched) {
            // Written back, a page stays taken; dropped, it is the snapshot's again. So a VM holds
            // no more than its last runs have touched.
            self.memory.show(frozen).map_err(SnapshotError::Show)?;
            restored.log.begin_afresh(&self.vm, &touched)?;
        } else {
            touched.each(&self.origin.layout.ram, |gpa| {
                let page = frozen.bytes(&(gpa..gpa + PAGE)).unwrap_or(&ZERO);
                self.memory.write(Gpa(gpa), page)
            })?;
            self.memory.forget_written();
        }
        self.vcpu.send_with_run(&state.regs, &state.sregs, &state.events);
        state.write_xsave(&self.vcpu.fd)?;
        Ok(Some(touched.count()))
    }

    /// Remembers an exit that leaves something in the processor which the fast way does not put
    /// back, whatever end it is taken for: one that is none between two instructions, and a #DB,
    /// which leaves a mark in DR6 (SDM vol. 3, 19.2.3).
    pub(crate) fn note_exit(&mut self, exit: &Exit) -> Result<(), Error> {
        if self.restored.is_none() {
            return Ok(());
        }
        // What a device has answered is whole once the guest goes on, as an IN is.
        let is_device = matches!(exit, Exit::Mmio(access) if self.is_device(access));
        let Some(restored) = &mut self.restored else { return Ok(()) };
        restored.is_marked |= match exit {
            Exit::Io(io) if io.port == port::EXCEPTION => {
                let stub = exception::stub_address(&self.origin.layout, exception::DEBUG);
                stub.contains(&self.vcpu.registers()?.rip)
            }
            Exit::Io(_) | Exit::Msr(_) | Exit::Hlt | Exit::Interrupted => false,
            Exit::Mmio(_) => !is_device,
            _ => true,
        };
        Ok(())
    }

    /// The sure way.
    fn rebuild(&mut self, snapshot: &Snapshot) -> Result<Effort, Error> {
        if self.origin != snapshot.0.origin {
            return Err(SnapshotError::OtherVm.into());
        }
        self.restored = None;
        self.vcpu.discard()?;
        let inner = &snapshot.0;
        let log = Log::begin(&self.vm, &mut self.memory, |memory| {
            Ok(memory.show(&inner.frozen).map_err(SnapshotError::Show)?)
        })?;
        inner.state.write(&self.vcpu.fd, Clock::Keep)?;
        self.vcpu.set_task_priority(&inner.state.sregs);
        self.vcpu.keep_general_registers();
        let (frozen, state) = (&inner.frozen, &inner.state);
        inner.invariant.get_or_init(|| Invariant::of(&self.memory, &inner.origin, frozen, state));
        self.restored = Some(Restored { snapshot: snapshot.clone(), log, is_marked: false });
        Ok(Effort::All)
    }
}
