//! Back to a snapshot: what was touched is put back, or, where that would not do, all of it.
//!
//! | | what is put back fast | what has to hold for it |
//! | --- | --- | --- |
//! | memory | the pages in KVM's dirty log, and those that the host wrote | the VM was restored to this snapshot before |
//! | the vCPU | general and system registers and events, with the next KVM_RUN; the floating-point state | the guest cannot have changed more ([`invariant`](crate::invariant)), and did not end in the middle of an exception |
//!
//! Else the memory is taken from KVM, shows the snapshot's pages, and is given back, so that
//! nothing stays that KVM or a processor derived from page tables that are no longer there; and all
//! of the vCPU is set. Both were measured: with 16 pages touched, some 8 us and some 150.

use crate::error::{Error, SnapshotError};
use crate::invariant::Invariant;
use crate::layout::{Gpa, PAGE};
use crate::outcome::{Annotations, End, Stats};
use crate::snapshot::Snapshot;
use crate::state::Clock;
use crate::touched::Log;
use crate::vm::Vm;
use std::sync::Arc;

/// What a VM was restored to, and what has been written since.
#[derive(Debug)]
pub(crate) struct Restored {
    snapshot: Snapshot,
    log: Log,
}

static ZERO: [u8; 4096] = [0; 4096];

impl Vm {
    /// Goes back to a snapshot of this VM, or of another that was made alike: of the same image,
    /// with as much memory and the same arguments. Counts, annotations and limits begin anew; a VM
    /// that was stopped stays so.
    ///
    /// # Errors
    /// The VM was made otherwise; it is recorded; KVM failed, and then the VM is of no more use.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        if self.tape.is_some() {
            return Err(SnapshotError::Taped.into());
        }
        if !self.put_back(snapshot)? {
            if self.origin != snapshot.0.origin {
                return Err(SnapshotError::OtherVm.into());
            }
            self.rebuild(snapshot)?;
        }
        self.bounds.start_afresh(None);
        self.console.start_afresh();
        self.console.resume_at(snapshot.0.taken);
        self.answered = snapshot.0.answered;
        self.kept.restore(&snapshot.0.kept);
        (self.stats, self.annotations) = (Stats::default(), Annotations::default());
        (self.end, self.fault) = (None, None);
        Ok(())
    }

    /// The fast way; `false`, and nothing done, where that would not do.
    fn put_back(&mut self, snapshot: &Snapshot) -> Result<bool, Error> {
        let is_it = |restored: &&mut Restored| Arc::ptr_eq(&restored.snapshot.0, &snapshot.0);
        let Some(restored) = self.restored.as_mut().filter(is_it) else { return Ok(false) };
        let state = &snapshot.0.state;
        let Some(Some(invariant)) = snapshot.0.invariant.get() else { return Ok(false) };
        if !is_plain(self.end.as_ref()) || self.fault.is_some() {
            return Ok(false);
        }
        if self.vcpu.may_pend(state.regs.rip) {
            self.vcpu.discard()?;
        }
        let touched = restored.log.pages(&self.vm, &self.memory)?;
        if !invariant.holds(&touched) {
            return Ok(false);
        }
        let frozen = &snapshot.0.frozen;
        touched.each(&self.origin.layout.ram, |gpa| {
            let page = frozen.bytes(&(gpa..gpa + PAGE)).unwrap_or(&ZERO);
            self.memory.write(Gpa(gpa), page)
        })?;
        self.memory.forget_written();
        restored.log.restored(&self.vm, &touched)?;
        self.vcpu.send_with_run(&state.regs, &state.sregs, &state.events);
        state.write_xsave(&self.vcpu.fd)?;
        Ok(true)
    }

    /// The sure way.
    fn rebuild(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        self.restored = None;
        self.vcpu.discard()?;
        let (inner, layout) = (&snapshot.0, &self.origin.layout);
        let log = Log::begin(&self.vm, &mut self.memory, |memory| {
            Ok(memory.show(&inner.frozen).map_err(SnapshotError::Show)?)
        })?;
        inner.state.write(&self.vcpu.fd, Clock::Keep)?;
        self.vcpu.keep_general_registers();
        let (frozen, state) = (&inner.frozen, &inner.state);
        inner.invariant.get_or_init(|| Invariant::of(&self.memory, layout, frozen, state));
        self.restored = Some(Restored { snapshot: snapshot.clone(), log });
        Ok(())
    }
}

/// Whether it is an end between two instructions of the guest's own, with nothing of an exception
/// left in the processor.
const fn is_plain(end: Option<&End>) -> bool {
    matches!(
        end,
        None | Some(
            End::Exited(_)
                | End::Halted
                | End::Serving
                | End::Panicked { .. }
                | End::CallRefused { .. }
                | End::HandlerFailed { .. }
                | End::LimitReached(_)
                | End::Stopped
        )
    )
}
