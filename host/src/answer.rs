//! Step 11: answers what the guest asks for by ports: the contract's own, typed calls, and whatever
//! handlers there are for the others. Those of memory and of MSRs are in [`mmio`](crate::mmio) and
//! [`msrs`](crate::msrs).

use crate::error::Error;
use crate::exception;
use crate::exit::Io;
use crate::layout::Gva;
use crate::outcome::{End, Place};
use crate::ports::Guest;
use crate::service::{self, NoAnswer};
use crate::vm::Vm;
use crate::walk::read_virtual;
use abi::calls::WORDS_MAX;
use abi::port;
use kvm_bindings::KVM_EXIT_IO;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The HLT instruction.
const HLT: u8 = 0xf4;

/// Bytes of the longest instruction.
const MAX_INSTRUCTION: u64 = 15;

/// What a handler sees of the guest; the parts of the VM that it leaves out are free meanwhile.
macro_rules! guest {
    ($vm:ident) => {
        Guest {
            memory: &$vm.memory,
            vcpu: &$vm.vcpu,
            arguments: &$vm.origin.arguments,
            stats: &mut $vm.stats,
            console: &mut $vm.console,
            annotations: &mut $vm.annotations,
            log: &mut $vm.log,
            kept: &mut $vm.kept,
        }
    };
}
pub(crate) use guest;

impl Vm {
    /// Step 11: answers a port access; the end it is, if it is one.
    pub(crate) fn answer(&mut self, io: &Io) -> Result<Option<End>, Error> {
        // Elements outside the mapping, or none, are no exit of any KVM's: nobody is asked then.
        if self.vcpu.elements(io).is_empty() {
            return Ok(Some(End::UnexpectedExit { reason: KVM_EXIT_IO }));
        }
        match (io.port, io.read) {
            (port::EXCEPTION, false) => {
                if let Some(end) = self.exception()? {
                    return Ok(Some(end));
                }
                // Not from a stub: a port like any other.
                return self.handled(io);
            }
            (port::CONSOLE, false) => {
                self.take_text();
                let text = self.vcpu.elements(io).iter().step_by(io.width.into());
                self.console.push(text, &mut self.stats);
                if self.console.is_full() {
                    return self.hand_on();
                }
            }
            (port::FLUSH, false) => {
                self.take_text();
                return self.hand_on();
            }
            (port::INPUT, true) => return self.give_input(io),
            (port::EXIT, false) => return Ok(Some(End::Exited(self.vcpu.element(io, 0)))),
            (port::CALL, false) => return self.call(io),
            (port::SERVE, false) if !self.origin.layout.mailbox.is_empty() => {
                return Ok(Some(self.serving(io)));
            }
            (port::PANIC, false) => return Ok(Some(self.panicked()?)),
            _ => return self.handled(io),
        }
        Ok(None)
    }

    /// What a handler makes of it.
    fn handled(&mut self, io: &Io) -> Result<Option<End>, Error> {
        match self.ask_handler(io) {
            Ok(()) => self.after_handler(),
            Err(end) => Ok(Some(end)),
        }
    }

    /// A handler may have printed, and a guest may make it do so without end.
    pub(crate) fn after_handler(&mut self) -> Result<Option<End>, Error> {
        if self.console.is_full() { self.hand_on() } else { Ok(None) }
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
            let mut guest = guest!(self);
            let (port, width) = (io.port, io.width);
            let value = asked(
                || format!("port {port:#x}"),
                || {
                    if io.read {
                        handler.read(&mut guest, port, width)
                    } else {
                        handler.write(&mut guest, port, width, written).map(|()| 0)
                    }
                },
            )?;
            if io.read {
                self.vcpu.set_element(io, i, value);
            }
        }
        Ok(())
    }

    /// The call port: a typed hypercall. Its number is what is written, its arguments are in
    /// registers, and so is what comes back.
    fn call(&mut self, io: &Io) -> Result<Option<End>, Error> {
        let number = self.vcpu.element(io, 0);
        let refused = |vm: &Self, why| End::CallRefused { call: vm.calls.name(number), why };
        if io.width != 4 || io.count != 1 {
            return Ok(Some(refused(self, "a call is one OUT of 4 bytes".to_owned())));
        }
        let mut words = service::words(&self.vcpu.registers()?);
        let observed = self.describe_call(number, &words).map(|call| (call, words));
        let mut guest = guest!(self);
        let answer = guarded(|| self.calls.answer(number, &mut guest, &mut words));
        let failed = |vm: &Self, what| {
            let message = format!("{} {what}", vm.calls.name(number));
            Some(End::HandlerFailed { message })
        };
        match answer {
            Ok(Ok(count)) => {
                let result = &words[..count.min(WORDS_MAX)];
                if !result.is_empty() {
                    self.vcpu.change_registers(|r| service::set_result(r, result))?;
                }
                if let Some((call, arguments)) = observed {
                    self.report_call(number, &call, &arguments, result);
                }
                // An image whose notes did not say that it calls: from here on that costs less.
                self.vcpu.sync(self.calls.needs());
                self.after_handler()
            }
            Ok(Err(NoAnswer::Malformed(why))) => Ok(Some(refused(self, why.to_string()))),
            Ok(Err(NoAnswer::End(End::HandlerFailed { message }))) => {
                Ok(failed(self, format!("failed: {message}")))
            }
            Ok(Err(NoAnswer::End(end))) => Ok(Some(end)),
            Err(panic) => Ok(failed(self, panic)),
        }
    }

    /// The serve port: the guest has answered, or has nothing to answer yet, and waits.
    fn serving(&mut self, io: &Io) -> End {
        self.answered = self.vcpu.element(io, 0);
        End::Serving
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
            let waits = self.input.would_wait();
            let _interrupts = waits.then(|| self.bounds.interrupt_wait());
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
        let (registers, sregs) = (self.vcpu.registers()?, self.vcpu.system_registers()?);
        self.fault = exception::decode(&self.memory, &self.origin.layout, &registers, &sregs);
        let Some(fault) = &mut self.fault else { return Ok(None) };
        fault.rflags = self.traps.guests(fault.rflags);
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
        let (r, cr3) = (self.vcpu.registers()?, self.vcpu.system_registers()?.cr3);
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
}

/// Lets the handler of this answer; one that panics ends the run, not the process.
pub(crate) fn asked<T>(
    of: impl FnOnce() -> String,
    answer: impl FnOnce() -> Result<T, End>,
) -> Result<T, End> {
    guarded(answer).unwrap_or_else(|panic| {
        Err(End::HandlerFailed { message: format!("the handler of {} {panic}", of()) })
    })
}

/// Lets a handler of someone's answer; one that panics ends the run, not the process. The error
/// says so.
fn guarded<T>(answer: impl FnOnce() -> T) -> Result<T, String> {
    // What the handler leaves behind half done is its own: the run is over, and it is not asked
    // again.
    catch_unwind(AssertUnwindSafe(answer))
        .map_err(|payload| format!("panicked: {}", panic_message(&*payload)))
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
