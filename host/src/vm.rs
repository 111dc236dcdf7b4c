//! The life of a VM from its first instruction to its end: steps 10, 11 and 12.

use crate::bounds::Bounds;
use crate::builder::Builder;
use crate::console::Console;
use crate::elf::Image;
use crate::error::Error;
use crate::exception::Exception;
use crate::exit::Exit;
use crate::input::Input;
use crate::kvm::Kvm;
use crate::memory::Memory;
use crate::mmio::MmioTable;
use crate::msrs::MsrTable;
use crate::observe::Observers;
use crate::outcome::{Annotations, End, Outcome, Stats};
use crate::ports::{Log, PortTable};
use crate::ready::Kept;
use crate::registers::Ring;
use crate::restore::Restored;
use crate::selectors;
use crate::service::Calls;
use crate::snapshot::{Origin, Snapshot};
use crate::stop::{Stopper, Watchdog};
use crate::tape::Tape;
use crate::teardown::{Remains, Teardown};
use crate::trap::Traps;
use crate::vcpu::Vcpu;
use abi::calls::Interface;
use kvm_ioctls::VmFd;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a console's sink may block after a stop or a limit before the rest is dropped.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What [`Vm::step`] came back with.
///
/// ```
/// use portcall::{End, Image, Kvm, Stop, Vm};
///
/// // out 0x80, al; hlt
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xe6, 0x80, 0xf4])?);
/// let mut vm = Vm::builder(&kvm, &image).build()?;
/// let mut exits = 0;
/// let end = loop {
///     match vm.step()? {
///         Stop::Exit(_) => exits += 1,
///         Stop::End(end) => break end,
///         _ => {}
///     }
/// };
/// assert_eq!((exits, end), (1, End::Halted));
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The guest made this exit, and it was answered.
    Exit(Exit),
    /// A signal came: a tick, or one of the caller's own.
    Interrupted,
    /// The run is over.
    End(End),
}

/// A guest with its machine, ready to run.
///
/// Dropping it closes the machine and gives its memory back: at once, or on the thread of
/// [`Kvm::for_many`].
///
/// ```
/// use portcall::{End, Image, Kvm, Vm};
///
/// // mov al, 7; out 0xf4, al
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xb0, 7, 0xe6, 0xf4])?);
/// let mut vm = Vm::builder(&kvm, &image).build()?;
/// assert_eq!(vm.run()?.end, End::Exited(7));
/// // What it left behind can be looked at.
/// assert_eq!(vm.stats().exits(), 1);
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Debug)]
pub struct Vm {
    // These three end together, in `drop`.
    pub(crate) vcpu: ManuallyDrop<Vcpu>,
    pub(crate) vm: ManuallyDrop<VmFd>,
    pub(crate) memory: ManuallyDrop<Memory>,
    pub(crate) teardown: Option<Teardown>,
    /// For ioctls on KVM itself.
    pub(crate) kvm: Arc<kvm_ioctls::Kvm>,
    /// What it was made with.
    pub(crate) origin: Origin,
    pub(crate) console: Console,
    pub(crate) input: Input,
    pub(crate) ports: PortTable,
    pub(crate) mmio: MmioTable,
    pub(crate) msrs: MsrTable,
    pub(crate) calls: Calls,
    /// The interface that the host called last, and that the image has as well.
    pub(crate) checked: Option<&'static Interface>,
    /// What the guest said when it last came to wait for a call.
    pub(crate) answered: u32,
    pub(crate) steps: Observers,
    pub(crate) bounds: Bounds,
    pub(crate) log: Log,
    pub(crate) stats: Stats,
    pub(crate) annotations: Annotations,
    pub(crate) end: Option<End>,
    /// The exception whose stub the guest is in.
    pub(crate) fault: Option<Exception>,
    /// What debuggers have come back to them.
    pub(crate) traps: Traps,
    pub(crate) tape: Option<Box<dyn Tape>>,
    pub(crate) restored: Option<Restored>,
    /// Of all that this process has made.
    pub(crate) id: u64,
    /// Whether it has not run since it was made or restored.
    pub(crate) is_fresh: bool,
    /// What the stock interface keeps of the guest.
    pub(crate) kept: Kept,
}

impl Vm {
    /// A new VM for the image.
    #[must_use]
    pub fn builder<'a>(kvm: &'a Kvm, image: &'a Image<'a>) -> Builder<'a> {
        Builder::new(kvm, image)
    }

    /// A new VM that goes on where the snapshot was taken; any number of them share its pages until
    /// they write to them. Memory, ring, arguments and windows are the snapshot's.
    #[must_use]
    pub fn from_snapshot<'a>(kvm: &'a Kvm, snapshot: &'a Snapshot) -> Builder<'a> {
        Builder::from_snapshot(kvm, snapshot)
    }

    /// Steps 10 to 12: runs the guest to its end. All that it printed has been handed on then.
    /// A VM that has ended gives its end again, but for HLT in ring 0, behind which it goes on.
    ///
    /// # Errors
    /// The host failed. What the guest does is in the [`Outcome`].
    pub fn run(&mut self) -> Result<Outcome, Error> {
        let end = self.run_on()?;
        self.outcome_of(end)
    }

    /// Steps 10 and 11, again and again up to the end.
    fn run_on(&mut self) -> Result<End, Error> {
        if let Some(end) = self.ended() {
            return Ok(end);
        }
        self.begin();
        let _ticks = self.bounds.start()?;
        // SAFETY: the vCPU, and so its mapping, outlives the guard: both are of this call.
        let _running = unsafe { self.bounds.stop.running(self.vcpu.immediate_exit()) };
        loop {
            if let Stop::End(end) = self.once()? {
                return Ok(end);
            }
        }
    }

    /// The first time that this thread is to enter the guest: it finds nothing of another's there.
    fn begin(&mut self) {
        if std::mem::take(&mut self.is_fresh) && self.origin.ring == Ring::Three {
            selectors::clear();
        }
    }

    /// The end of a run that does not go on from there, as it would behind HLT in ring 0.
    fn ended(&self) -> Option<End> {
        let goes_on = |end: &&End| **end == End::Halted && self.fault.is_none();
        self.end.as_ref().filter(|end| !goes_on(end)).cloned()
    }

    /// Lets a guest that waits for a call go on, until it waits again or ends; in `limit`, or in
    /// the VM's own time limit afresh.
    pub(crate) fn resume(&mut self, limit: Option<Duration>) -> Result<End, Error> {
        self.begin_afresh(limit);
        self.run_on()
    }

    /// What comes is a run of its own, with limits of its own.
    pub(crate) fn begin_afresh(&mut self, limit: Option<Duration>) {
        self.end = None;
        self.bounds.start_afresh(limit);
        self.console.start_afresh();
    }

    /// Runs the guest up to its next exit and answers that: one turn of [`run`](Self::run),
    /// for schedulers and debuggers. A run that has ended gives its end again, but for HLT,
    /// behind which a guest in ring 0 goes on.
    ///
    /// # Errors
    /// The host failed.
    pub fn step(&mut self) -> Result<Stop, Error> {
        if let Some(end) = self.ended() {
            return Ok(Stop::End(end));
        }
        self.begin();
        let _ticks = self.bounds.start()?;
        // SAFETY: as in `run_on`.
        let _running = unsafe { self.bounds.stop.running(self.vcpu.immediate_exit()) };
        // Ticks that came since the last step found nobody to interrupt.
        if self.end.is_none()
            && self.bounds.is_due()
            && let Some(end) = self.tick()?
        {
            return self.finish(end);
        }
        self.once()
    }

    fn once(&mut self) -> Result<Stop, Error> {
        self.end = None;
        // Before anything ends the run: what the host did came first.
        self.tell_between();
        // A signal that came while the host was at work, and a stop.
        let look = self.bounds.stop.look(|| self.vcpu.take_signal());
        if look.signalled
            && let Some(end) = self.tick()?
        {
            return self.finish(end);
        }
        if look.stopped {
            return self.finish(End::Stopped);
        }
        // 10: the guest runs.
        self.leave_trap()?;
        self.kept.goes_on();
        let entered = self.steps.now();
        let exit = self.vcpu.run()?;
        let exit = self.caught(exit)?;
        self.answered(exit, entered)
    }

    /// What comes of an exit, for which the guest was entered then.
    pub(crate) fn answered(&mut self, exit: Exit, entered: Option<Instant>) -> Result<Stop, Error> {
        self.note_exit(&exit)?;
        self.stats.count(exit.kind());
        if let Some(entered) = entered {
            self.report_exit(&exit, entered)?;
        }
        // What the host asked for itself, or only some KVMs say, is neither counted nor recorded.
        let is_guests = !matches!(exit, Exit::Interrupted | Exit::Debug | Exit::TaskPriority);
        if is_guests && let Some(end) = self.beyond_limits(&exit)? {
            return self.finish(end);
        }
        // 11: what it wants is answered.
        let start = self.steps.now();
        let end = match self.tape.take() {
            Some(mut tape) if is_guests => {
                let end = self.answer_by_tape(&mut *tape, &exit);
                self.tape = Some(tape);
                end?
            }
            tape => {
                self.tape = tape;
                self.answer_exit(&exit)?
            }
        };
        if let Some(end) = end {
            return self.finish(end);
        }
        if exit == Exit::Interrupted {
            return Ok(Stop::Interrupted);
        }
        self.steps.done(11, "answer", start, || &exit);
        Ok(Stop::Exit(exit))
    }

    /// The end that it is where the guest has printed, called or exited more than it may.
    fn beyond_limits(&mut self, exit: &Exit) -> Result<Option<End>, Error> {
        let is_call = matches!(exit, Exit::Io(io) if io.is_call());
        self.stats.calls += u64::from(is_call);
        if self.console.is_limited() {
            self.console.take(&self.memory, &mut self.stats);
            if self.console.is_full()
                && let Some(end) = self.hand_on()?
            {
                return Ok(Some(end));
            }
        }
        Ok(self.bounds.count(is_call))
    }

    /// Step 11: the answer to an exit; the end it is, if it is one.
    pub(crate) fn answer_exit(&mut self, exit: &Exit) -> Result<Option<End>, Error> {
        match exit {
            Exit::Io(io) => self.answer(io),
            Exit::Mmio(access) => self.answer_mmio(access),
            Exit::Msr(access) => self.answer_msr(access),
            Exit::Interrupted => {
                self.vcpu.take_signal();
                self.tick()
            }
            _ => Ok(exit.end()),
        }
    }

    /// Step 12: the end with the registers at it, for those who step; `None` before there is one.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn outcome(&mut self) -> Result<Option<Outcome>, Error> {
        self.end.clone().map(|end| self.outcome_of(end)).transpose()
    }

    fn outcome_of(&mut self, end: End) -> Result<Outcome, Error> {
        self.tell_between();
        // One that goes back and forth has them with each exit: 5 us less.
        let registers = if self.restored.is_some() && self.vcpu.has_registers() {
            self.vcpu.registers()?
        } else {
            let vcpu = &self.vcpu;
            self.steps.ioctl(
                12,
                "KVM_GET_REGS",
                || vcpu.registers_now(),
                |r| format!("rip {:#x}, rsp {:#x}, rax {:#x}", r.rip, r.rsp, r.rax),
            )?
        };
        let mut registers = self.fault.map_or(registers, |fault| fault.registers(registers));
        registers.rflags = self.traps.guests(registers.rflags);
        let (stats, annotations) = (self.stats.clone(), self.annotations.clone());
        Ok(Outcome { end, registers, stats, annotations })
    }

    /// The run is over: hands on what the guest printed, and remembers the end.
    fn finish(&mut self, end: End) -> Result<Stop, Error> {
        self.take_text();
        // Whether a tick has seen it before the guest ended is a matter of time; this is not.
        let mut end = self.console.limit_reached().unwrap_or(end);
        if !self.console.is_empty() {
            // A sink that takes nothing must not hold up a run that was to end.
            let patience = Instant::now() + LAST_WORDS;
            // Where there can be no timer, the sink has the time that it takes.
            let _interrupts = Watchdog::start(LAST_WORDS, LAST_WORDS).ok();
            let was_ended = matches!(end, End::LimitReached(_) | End::Stopped);
            let given_up =
                || Instant::now() >= patience && (was_ended || self.bounds.reached().is_some());
            self.console.flush(given_up).map_err(Error::Console)?;
            let lost = self.console.discard();
            self.stats.console_lost += lost;
            // An end is a good one once its text has been taken; this took longer than it may.
            if lost > 0 && end.is_normal() {
                end = self.bounds.reached().unwrap_or(end);
            }
        }
        let end = self.end_by_tape(end);
        self.steps.end(&end);
        self.end = Some(end.clone());
        Ok(Stop::End(end))
    }

    /// Takes what the guest has printed so far, and shows it that there is room again.
    pub(crate) fn take_text(&mut self) {
        self.console.take(&self.memory, &mut self.stats);
        self.console.publish(&self.memory);
    }

    /// A tick: hands on the text, and looks at what may end the run from outside.
    fn tick(&mut self) -> Result<Option<End>, Error> {
        if let Some(end) = self.hand_on()? {
            return Ok(Some(end));
        }
        let text = self.console.text(&self.stats);
        Ok(self.tape.as_mut().and_then(|tape| tape.tick(text)))
    }

    /// Hands on what the guest has printed so far; then, since that may have taken its time,
    /// looks at stops and limits.
    pub(crate) fn hand_on(&mut self) -> Result<Option<End>, Error> {
        self.console.take(&self.memory, &mut self.stats);
        // There is to be no more text, and what there is has its time at the end.
        if let Some(end) = self.console.limit_reached() {
            return Ok(Some(end));
        }
        if !self.console.is_empty() {
            let _interrupts = self.bounds.interrupt_wait();
            self.console.flush(|| self.bounds.reached().is_some()).map_err(Error::Console)?;
        }
        Ok(self.bounds.reached())
    }

    /// The guest was held for so long, by a debugger or a scheduler: that does not count for its
    /// [`Limit::Time`](crate::Limit::Time).
    pub fn stood_still(&mut self, time: Duration) {
        self.bounds.stood_still(time);
    }

    /// Hands on what the guest has printed so far, which else waits for the next tick or exit that
    /// does. Whatever limit that reaches is found there.
    ///
    /// # Errors
    /// The sink failed.
    pub fn show_text(&mut self) -> Result<(), Error> {
        if self.end.is_none() { self.hand_on().map(|_| ()) } else { Ok(()) }
    }

    /// A handle by which other threads stop this VM.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.bounds.stop.stopper()
    }

    /// Whether a [`Stopper`] has stopped it, for good.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.bounds.stop.requested()
    }

    /// For another user of the same VM: the stoppers that there are do nothing any more, and input
    /// that was read ahead for the one before is dropped. With [`restore`](Self::restore), nothing
    /// of his is left but what handlers, services, sinks and sources keep. A VM that was stopped
    /// stays so.
    pub fn change_hands(&mut self) {
        self.bounds.stop.cut_off();
        self.input.forget();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: `drop` is called once, and nobody uses the field afterwards.
        let vcpu = unsafe { ManuallyDrop::take(&mut self.vcpu) };
        // SAFETY: as above.
        let vm = unsafe { ManuallyDrop::take(&mut self.vm) };
        // SAFETY: as above.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        let remains = Remains { vcpu, vm, memory };
        match self.teardown.take() {
            Some(teardown) => teardown.give(remains),
            None => drop(remains),
        }
    }
}
