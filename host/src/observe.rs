//! The seam for those who watch: steps, exits and ends, as they happen.

use crate::claims::Claims;
use crate::error::KvmError;
use crate::exit::Exit;
use crate::outcome::End;
use abi::calls::WORDS_MAX;
use kvm_bindings::kvm_regs;
use std::fmt::{self, Display};
use std::time::{Duration, Instant};

/// One of the twelve steps, done.
///
/// ```
/// use portcall::{Observer, Step};
///
/// struct Numbers;
///
/// impl Observer for Numbers {
///     fn step(&mut self, step: &Step<'_>) {
///         eprintln!("{:2} {} {} ({:?})", step.number, step.what, step.detail, step.time);
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Step<'a> {
    /// Its number, 1 to 12.
    pub number: u8,
    /// The ioctl's name in the KVM API documentation, or what else was done.
    pub what: &'a str,
    /// Its arguments and result.
    pub detail: fmt::Arguments<'a>,
    /// How long it took.
    pub time: Duration,
}

/// One return of KVM_RUN, before it is handled.
///
/// ```
/// use portcall::{ExitEvent, Observer};
/// use std::time::Duration;
///
/// /// How long the guest ran between its exits.
/// struct Guest(Duration);
///
/// impl Observer for Guest {
///     fn exit(&mut self, event: &ExitEvent<'_>) {
///         self.0 += event.left - event.entered;
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ExitEvent<'a> {
    /// Why it returned.
    pub exit: &'a Exit,
    /// When KVM_RUN was called.
    pub entered: Instant,
    /// When it returned.
    pub left: Instant,
    /// What an OUT writes: its elements, little-endian, of the width that the exit says. Else empty.
    pub written: &'a [u8],
    /// The general registers, if someone [wants](Observer::wants_registers) them. RIP is what KVM
    /// has at this exit: at an IN it is that of the instruction, at an OUT on some KVMs the one
    /// behind it.
    pub registers: Option<&'a kvm_regs>,
}

/// A typed hypercall that was answered.
///
/// ```
/// use portcall::{CallEvent, Observer};
///
/// struct Calls;
///
/// impl Observer for Calls {
///     fn call(&mut self, event: &CallEvent<'_>) {
///         eprintln!("{} = {}", event.call, event.result);
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallEvent<'a> {
    /// Its number.
    pub number: u32,
    /// The interface and the function, with the arguments as they came:
    /// `Store::put(key: "a", value: 3 bytes 78 79 7a)`.
    pub call: &'a str,
    /// The result, in the same way; empty where there is none.
    pub result: &'a str,
    /// The arguments' words as they came. Those that the call does not have are whatever stood in
    /// the registers.
    pub words: &'a [u64; WORDS_MAX],
    /// The result's words.
    pub results: &'a [u64],
    /// The guest's memory as the guest may use it, behind the answer.
    pub claims: &'a Claims<'a>,
}

/// Sees what happens; changes nothing. A VM without observers takes no times.
///
/// ```
/// use portcall::{ExitEvent, Image, Kvm, Observer, Vm};
/// use std::sync::mpsc::{Sender, channel};
///
/// struct Exits(Sender<String>);
///
/// impl Observer for Exits {
///     fn exit(&mut self, event: &ExitEvent<'_>) {
///         let _ = self.0.send(format!("{:?}", event.exit.kind()));
///     }
/// }
///
/// // out 0x80, al; hlt
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xe6, 0x80, 0xf4])?);
/// let (sender, exits) = channel();
/// let mut vm = Vm::builder(&kvm, &image).observe(Exits(sender)).build()?;
/// vm.run()?;
/// assert_eq!(exits.try_iter().collect::<Vec<_>>(), ["Out", "Hlt"]);
/// # Ok::<(), portcall::Error>(())
/// ```
pub trait Observer: Send {
    /// A step was done. Step 10 is an [`exit`](Self::exit), and 11 the answer to it, where the run goes
    /// on behind it.
    fn step(&mut self, step: &Step<'_>) {
        let _ = step;
    }

    /// KVM_RUN returned.
    fn exit(&mut self, event: &ExitEvent<'_>) {
        let _ = event;
    }

    /// Whether it wants the registers at each exit. KVM leaves them in the kvm_run mapping then
    /// (KVM_CAP_SYNC_REGS), some 0.1 us an exit and no ioctl; for a guest that makes typed calls it
    /// does so in any case. Asked once, when the VM is built.
    fn wants_registers(&self) -> bool {
        false
    }

    /// Whether it wants to hear of [`call`](Self::call)s, whose words take some microseconds each.
    fn wants_calls(&self) -> bool {
        false
    }

    /// A typed hypercall was answered.
    fn call(&mut self, call: &CallEvent<'_>) {
        let _ = call;
    }

    /// The run is over.
    fn end(&mut self, end: &End) {
        let _ = end;
    }
}

/// A VM's observers.
#[derive(Default)]
pub(crate) struct Observers(pub(crate) Vec<Box<dyn Observer>>);

impl Observers {
    /// Whether someone wants to hear of calls.
    pub(crate) fn want_calls(&self) -> bool {
        self.0.iter().any(|observer| observer.wants_calls())
    }

    /// Whether someone wants the registers.
    pub(crate) fn want_registers(&self) -> bool {
        self.0.iter().any(|observer| observer.wants_registers())
    }

    /// The time, if someone will be told.
    pub(crate) fn now(&self) -> Option<Instant> {
        (!self.0.is_empty()).then(Instant::now)
    }

    /// Does a step that is an ioctl and reports it; `detail` says its arguments and result.
    pub(crate) fn ioctl<T>(
        &mut self,
        number: u8,
        ioctl: &'static str,
        call: impl FnOnce() -> Result<T, kvm_ioctls::Error>,
        detail: impl FnOnce(&T) -> String,
    ) -> Result<T, KvmError> {
        let start = self.now();
        let result = call().map_err(|error| KvmError::ioctl(ioctl, error))?;
        self.done(number, ioctl, start, || detail(&result));
        Ok(result)
    }

    /// Reports a step that began at `start`. Who does not look at the detail makes no text of it.
    pub(crate) fn done<D: Display>(
        &mut self,
        number: u8,
        what: &str,
        start: Option<Instant>,
        detail: impl FnOnce() -> D,
    ) {
        let Some(start) = start else { return };
        let time = start.elapsed();
        let detail = detail();
        for observer in &mut self.0 {
            observer.step(&Step { number, what, detail: format_args!("{detail}"), time });
        }
    }

    pub(crate) fn exit(&mut self, event: &ExitEvent<'_>) {
        for observer in &mut self.0 {
            observer.exit(event);
        }
    }

    pub(crate) fn call(&mut self, event: &CallEvent<'_>) {
        for observer in self.0.iter_mut().filter(|observer| observer.wants_calls()) {
            observer.call(event);
        }
    }

    pub(crate) fn end(&mut self, end: &End) {
        for observer in &mut self.0 {
            observer.end(end);
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}
