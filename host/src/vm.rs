//! The life of a VM from its first instruction to its end: steps 10, 11 and 12.

use crate::bounds::Bounds;
use crate::builder::Builder;
use crate::console::Console;
use crate::elf::Image;
use crate::error::{Error, KvmError};
use crate::exception::{self, Exception};
use crate::exit::{Exit, Io};
use crate::input::Input;
use crate::kvm::Kvm;
use crate::layout::{Gva, Layout};
use crate::memory::Memory;
use crate::observe::Observers;
use crate::outcome::{End, Outcome, Place, Stats};
use crate::ports::{Guest, PortTable};
use crate::stop::{Stopper, Watchdog};
use crate::vcpu::Vcpu;
use crate::walk::{self, Translation, read_virtual};
use abi::port;
use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::{VcpuFd, VmFd};
use std::time::{Duration, Instant};

/// How long a console's sink may block after a stop or a limit before the rest is dropped.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The HLT instruction.
const HLT: u8 = 0xf4;

/// Bytes of the longest instruction.
const MAX_INSTRUCTION: u64 = 15;

/// What [`Vm::step`] came back with.
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
// The order of the fields is the order of their end: the memory outlives the VM that uses it.
#[derive(Debug)]
pub struct Vm {
    pub(crate) vcpu: Vcpu,
    pub(crate) vm: VmFd,
    pub(crate) memory: Memory,
    pub(crate) layout: Layout,
    pub(crate) console: Console,
    pub(crate) input: Input,
    pub(crate) ports: PortTable,
    pub(crate) steps: Observers,
    pub(crate) bounds: Bounds,
    pub(crate) stats: Stats,
    pub(crate) end: Option<End>,
    /// The exception whose stub the guest is in.
    pub(crate) fault: Option<Exception>,
}

impl Vm {
    /// A new VM for the image.
    #[must_use]
    pub fn builder<'a>(kvm: &'a Kvm, image: &'a Image<'a>) -> Builder<'a> {
        Builder::new(kvm, image)
    }

    /// Steps 10 to 12: runs the guest to its end. All that it printed has been handed on then.
    /// A VM that has ended gives its end again, but for HLT in ring 0, behind which it goes on.
    ///
    /// # Errors
    /// The host failed. What the guest does is in the [`Outcome`].
    pub fn run(&mut self) -> Result<Outcome, Error> {
        self.bounds.watch()?;
        // SAFETY: the vCPU, and so its mapping, outlives the guard: both are of this call.
        let _running = unsafe { self.bounds.stop.running(self.vcpu.immediate_exit()) };
        loop {
            if let Stop::End(_) = self.once()?
                && let Some(outcome) = self.outcome()?
            {
                return Ok(outcome);
            }
        }
    }

    /// Runs the guest up to its next exit and answers that: one turn of [`run`](Self::run),
    /// for schedulers and debuggers. A run that has ended gives its end again, but for HLT,
    /// behind which a guest in ring 0 goes on.
    ///
    /// # Errors
    /// The host failed.
    pub fn step(&mut self) -> Result<Stop, Error> {
        self.bounds.watch()?;
        // SAFETY: as in `run`.
        let _running = unsafe { self.bounds.stop.running(self.vcpu.immediate_exit()) };
        // Ticks that came since the last step found nobody to interrupt.
        if self.end.is_none()
            && self.bounds.is_due()
            && let Some(end) = self.hand_on()?
        {
            return self.finish(end);
        }
        self.once()
    }

    fn once(&mut self) -> Result<Stop, Error> {
        let goes_on = |end: &&End| **end == End::Halted && self.fault.is_none();
        if let Some(end) = self.end.as_ref().filter(|end| !goes_on(end)) {
            return Ok(Stop::End(end.clone()));
        }
        self.end = None;
        // A signal that came while the host was at work.
        if self.vcpu.take_signal()
            && let Some(end) = self.hand_on()?
        {
            return self.finish(end);
        }
        // After the signal is taken: a request that comes from here on has a signal of its own.
        if self.bounds.stop.requested() {
            return self.finish(End::Stopped);
        }
        // 10: the guest runs.
        let entered = self.steps.now();
        let exit = self.vcpu.run()?;
        self.stats.count(exit.kind());
        self.steps.exit(&exit, entered);
        // 11: what it wants is answered.
        let start = self.steps.now();
        let end = match &exit {
            Exit::Io(io) => self.answer(io)?,
            Exit::Interrupted => {
                self.vcpu.take_signal();
                self.hand_on()?
            }
            _ => exit.end(),
        };
        if let Some(end) = end {
            return self.finish(end);
        }
        if exit == Exit::Interrupted {
            return Ok(Stop::Interrupted);
        }
        self.steps.done(11, "answer", start, || exit.to_string());
        Ok(Stop::Exit(exit))
    }

    /// Step 12: the end with the registers at it, for those who step; `None` before there is one.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn outcome(&mut self) -> Result<Option<Outcome>, Error> {
        let Some(end) = self.end.clone() else { return Ok(None) };
        let vcpu = &self.vcpu.fd;
        let registers = self.steps.ioctl(
            12,
            "KVM_GET_REGS",
            || vcpu.get_regs(),
            |r| format!("rip {:#x}, rsp {:#x}, rax {:#x}", r.rip, r.rsp, r.rax),
        )?;
        let registers = self.fault.map_or(registers, |fault| fault.registers(registers));
        Ok(Some(Outcome { end, registers, stats: self.stats.clone() }))
    }

    /// The run is over: hands on what the guest printed, and remembers the end.
    fn finish(&mut self, end: End) -> Result<Stop, Error> {
        self.console.take(&self.memory, &mut self.stats);
        if !self.console.is_empty() {
            // A sink that takes nothing must not hold up a run that was to end.
            let patience = Instant::now() + LAST_WORDS;
            let _interrupts = Watchdog::start(LAST_WORDS, LAST_WORDS)?;
            let was_ended = matches!(end, End::LimitReached(_) | End::Stopped);
            let given_up =
                || Instant::now() >= patience && (was_ended || self.bounds.reached().is_some());
            self.console.flush(given_up).map_err(Error::Console)?;
            self.stats.console_lost += self.console.discard();
        }
        self.bounds.unwatch();
        self.steps.end(&end);
        self.end = Some(end.clone());
        Ok(Stop::End(end))
    }

    /// Hands on what the guest has printed so far; then, since that may have taken its time,
    /// looks at stops and limits.
    fn hand_on(&mut self) -> Result<Option<End>, Error> {
        self.console.take(&self.memory, &mut self.stats);
        self.console.flush(|| self.bounds.reached().is_some()).map_err(Error::Console)?;
        Ok(self.bounds.reached())
    }

    /// Step 11: answers a port access; the end it is, if it is one.
    fn answer(&mut self, io: &Io) -> Result<Option<End>, Error> {
        match (io.port, io.read) {
            (port::EXCEPTION, false) => {
                if let Some(end) = self.exception()? {
                    return Ok(Some(end));
                }
                // Not from a stub: a port like any other.
                return Ok(self.ask_handler(io).err());
            }
            (port::CONSOLE, false) => {
                self.console.take(&self.memory, &mut self.stats);
                let text = self.vcpu.elements(io).iter().step_by(io.width.into());
                self.console.push(text, &mut self.stats);
                if self.console.is_full() {
                    return self.hand_on();
                }
            }
            (port::FLUSH, false) => return self.hand_on(),
            (port::INPUT, true) => return self.give_input(io),
            (port::EXIT, false) => return Ok(Some(End::Exited(self.vcpu.element(io, 0)))),
            (port::PANIC, false) => return Ok(Some(self.panicked()?)),
            _ => {
                let end = self.ask_handler(io).err();
                // A handler may have printed, and a guest may make it do so without end.
                return if end.is_none() && self.console.is_full() {
                    self.hand_on()
                } else {
                    Ok(end)
                };
            }
        }
        Ok(None)
    }

    /// Lets the handler of the port answer; where there is none, reads give all ones and writes
    /// are dropped.
    fn ask_handler(&mut self, io: &Io) -> Result<(), End> {
        let Some(handler) = self.ports.find(io.port) else {
            let (reads, writes) = self.stats.unanswered.entry(io.port).or_default();
            *(if io.read { reads } else { writes }) += u64::from(io.count);
            if io.read {
                self.vcpu.elements(io).fill(0xff);
            }
            return Ok(());
        };
        for i in 0..io.count {
            let written = self.vcpu.element(io, i);
            let mut guest = Guest {
                memory: &self.memory,
                vcpu: &self.vcpu.fd,
                stats: &mut self.stats,
                console: &mut self.console,
            };
            if io.read {
                let value = handler.read(&mut guest, io.port, io.width)?;
                self.vcpu.set_element(io, i, value);
            } else {
                handler.write(&mut guest, io.port, io.width, written)?;
            }
        }
        Ok(())
    }

    /// The input port: the next byte of the host's input, or all ones at its end.
    fn give_input(&mut self, io: &Io) -> Result<Option<End>, Error> {
        for i in 0..io.count {
            if self.input.would_wait() {
                // Whoever is to type something should see what was asked.
                if let Some(end) = self.hand_on()? {
                    return Ok(Some(end));
                }
            }
            let byte = self.input.next(|| self.bounds.reached().is_some()).map_err(Error::Input)?;
            if byte.is_none()
                && let Some(end) = self.bounds.reached()
            {
                return Ok(Some(end));
            }
            self.vcpu.set_element(io, i, byte.map_or(port::END_OF_INPUT, u32::from));
        }
        Ok(None)
    }

    /// The exception port: the exception whose stub the guest is in, if it is in one.
    fn exception(&mut self) -> Result<Option<End>, Error> {
        let (registers, sregs) = (self.registers()?, self.system_registers()?);
        self.fault = exception::decode(&self.memory, &self.layout, &registers, &sregs);
        let Some(fault) = &mut self.fault else { return Ok(None) };
        // HLT is not for ring 3, so it arrives as a fault, and is the same end all the same.
        let mut at = fault.rip;
        let mut byte = [0];
        while fault.may_be_hlt()
            && at.0.wrapping_sub(fault.rip.0) < MAX_INSTRUCTION
            && read_virtual(&self.memory, sregs.cr3, at, &mut byte).is_ok()
        {
            at.0 = at.0.wrapping_add(1);
            match byte {
                [HLT] => {
                    fault.rip = at;
                    return Ok(Some(End::Halted));
                }
                // Prefixes mean nothing to it: operand and address size, repetition, REX.
                [0x66 | 0x67 | 0xf2 | 0xf3 | 0x40..=0x4f] => {}
                _ => break,
            }
        }
        Ok(Some(End::Exception(*fault)))
    }

    /// The panic port: the registers name the message and the place. All are claims.
    fn panicked(&self) -> Result<End, Error> {
        let (r, cr3) = (self.registers()?, self.system_registers()?.cr3);
        let text = |address: u64, size: u64| {
            let size = usize::try_from(size).unwrap_or(usize::MAX).min(port::PANIC_TEXT_MAX);
            let mut bytes = vec![0; size];
            read_virtual(&self.memory, cr3, Gva(address), &mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let message = text(r.rdi, r.rsi).unwrap_or_else(|| "(message not readable)".to_owned());
        let file = text(r.rdx, r.rcx).filter(|file| !file.is_empty());
        let at = file.map(|file| Place { file, line: r.r8, column: r.r9 });
        Ok(End::Panicked { message, at })
    }

    /// A handle by which other threads stop this VM.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.bounds.stop.stopper()
    }

    /// The guest's RAM, by guest-physical address.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Where things are in the guest's memory.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The exception that the guest is caught in, if it is in one: also a HLT in ring 3, which
    /// is one to the processor.
    #[must_use]
    pub const fn fault(&self) -> Option<&Exception> {
        self.fault.as_ref()
    }

    /// The general registers now (KVM_GET_REGS); after an exception, those at the instruction
    /// that raised it.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn registers(&self) -> Result<kvm_regs, Error> {
        let now =
            self.vcpu.fd.get_regs().map_err(|error| KvmError::ioctl("KVM_GET_REGS", error))?;
        Ok(self.fault.map_or(now, |fault| fault.registers(now)))
    }

    /// The segment, control and table registers now (KVM_GET_SREGS).
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn system_registers(&self) -> Result<kvm_sregs, Error> {
        let sregs = self.vcpu.fd.get_sregs();
        Ok(sregs.map_err(|error| KvmError::ioctl("KVM_GET_SREGS", error))?)
    }

    /// Where a guest-virtual address leads, by the page tables in CR3 now.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn translate(&self, gva: Gva) -> Result<Option<Translation>, Error> {
        Ok(walk::translate(&self.memory, self.system_registers()?.cr3, gva))
    }

    /// Copies guest-virtual memory at `gva` into `bytes`.
    ///
    /// # Errors
    /// Not all of it is mapped to RAM, or the ioctl failed.
    pub fn read_virtual(&self, gva: Gva, bytes: &mut [u8]) -> Result<(), Error> {
        let cr3 = self.system_registers()?.cr3;
        Ok(walk::read_virtual(&self.memory, cr3, gva, bytes)?)
    }

    /// The VM's file descriptor, for ioctls of your own.
    ///
    /// # Safety
    /// A vCPU that is made of it must not outlive this `Vm`: it would keep on using memory that
    /// the `Vm` has given back.
    #[must_use]
    pub const unsafe fn vm_fd(&self) -> &VmFd {
        &self.vm
    }

    /// The vCPU's file descriptor, for ioctls of your own.
    #[must_use]
    pub const fn vcpu_fd(&self) -> &VcpuFd {
        &self.vcpu.fd
    }

    /// The same with its kvm_run mapping. KVM_RUN belongs to [`step`](Self::step).
    ///
    /// # Safety
    /// It must stay this VM's: another put in its place would outlive its own VM's memory.
    #[must_use]
    pub const unsafe fn vcpu_fd_mut(&mut self) -> &mut VcpuFd {
        &mut self.vcpu.fd
    }
}
