//! Step 11, typed: finds who answers a hypercall, and takes its answer back to the registers.
//!
//! On the seam of the ports: a call is a write to [`abi::port::CALL`].

use crate::error::ConfigError;
use crate::note::{NotedInterface, Notes};
use crate::outcome::End;
use crate::ports::Guest;
use crate::vcpu::Synced;
use abi::calls::{
    Interface, Malformed, Method, Refusal, Serve, WORDS_MAX, interface_of, method_of,
};
use kvm_bindings::kvm_regs;
use std::fmt;

/// Answers the calls of an interface. Register it with [`Builder::serve`](crate::Builder::serve).
///
/// The `Server` of [`hypercalls!`](abi::hypercalls) is one. Who wants more of the guest than a
/// call's arguments implements it by hand, and lets such a `Server` do the rest:
///
/// ```
/// use abi::calls::{Interface, Serve};
/// use portcall::service::{Call, NoAnswer, Service};
/// use portcall::Guest;
///
/// abi::hypercalls! {
///     /// Where the guest is.
///     pub trait Place {
///         /// Its instruction pointer.
///         fn rip(&mut self) -> u64;
///     }
/// }
///
/// /// Answers for one guest, for the time of one call.
/// struct Here(u64);
///
/// impl Place for Here {
///     fn rip(&mut self) -> u64 {
///         self.0
///     }
/// }
///
/// struct Places;
///
/// impl Service for Places {
///     fn interface(&self) -> &'static Interface {
///         &INTERFACE
///     }
///
///     fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer> {
///         let here = Here(guest.registers()?.rip);
///         Ok(Server(here).serve(call.method, call.words, &mut guest.claims())?)
///     }
/// }
/// ```
pub trait Service: Send {
    /// The interface.
    fn interface(&self) -> &'static Interface;

    /// Answers one call: takes its arguments from the words, puts the result there, and says how
    /// many words that has.
    ///
    /// # Errors
    /// The run is to end.
    fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer>;
}

/// A call as it comes out of the registers.
#[derive(Debug)]
pub struct Call<'w> {
    /// Which of the interface's.
    pub method: u32,
    /// The arguments; then the result.
    pub words: &'w mut [u64; WORDS_MAX],
}

/// Why a call has no answer, and the run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The call is not as its definition has it.
    Malformed(Malformed),
    /// The run is to end like this.
    End(End),
}

impl From<Malformed> for NoAnswer {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<End> for NoAnswer {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl<S: Serve + Send> Service for S {
    fn interface(&self) -> &'static Interface {
        S::INTERFACE
    }

    fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer> {
        Ok(self.serve(call.method, call.words, &mut guest.claims())?)
    }
}

/// The services of a VM, each with its interface's number.
#[derive(Default)]
pub(crate) struct Calls {
    services: Vec<(u32, Box<dyn Service>)>,
    /// Whether a call of theirs has bytes in memory.
    any_bytes: bool,
    /// What the image calls, by its notes, each with its number; and whether that is all.
    noted: Vec<(u32, NotedInterface)>,
    complete: bool,
}

impl Calls {
    /// The services for an image: where both know an interface, they have to agree on it.
    pub(crate) fn new(
        services: Vec<Box<dyn Service>>,
        notes: &Notes,
    ) -> Result<Self, crate::Error> {
        let noted = notes.calls.iter().map(|noted| (noted.id(), noted.clone())).collect();
        let mut calls = Self { noted, complete: notes.complete, ..Self::default() };
        for service in services {
            let interface = service.interface();
            let id = interface.id();
            if let Some((_, other)) = calls.services.iter().find(|(other, _)| *other == id) {
                let (first, second) = (other.interface().name, interface.name);
                return Err(ConfigError::InterfaceTaken { first, second }.into());
            }
            for noted in notes.calls.iter().filter(|noted| noted.name == interface.name) {
                noted.is_called_as(interface)?;
            }
            calls.any_bytes |= interface.has_bytes();
            calls.services.push((id, service));
        }
        Ok(calls)
    }

    /// What KVM should leave of the registers at each exit: the system registers only where a
    /// call may lead into the guest's memory.
    pub(crate) const fn needs(&self) -> Synced {
        Synced { general: true, system: self.any_bytes }
    }

    /// The call's definition, where it is one of a service's.
    pub(crate) fn method(&self, number: u32) -> Option<(&'static Interface, &'static Method)> {
        let (_, service) = self.services.iter().find(|(id, _)| *id == interface_of(number))?;
        let interface = service.interface();
        Some((interface, interface.methods.get(usize::try_from(method_of(number)).ok()?)?))
    }

    /// The same also of a stock interface that nobody serves here, as in a replay.
    pub(crate) fn known(&self, number: u32) -> Option<&'static Method> {
        let place = usize::try_from(method_of(number)).ok()?;
        let stock = || stock(interface_of(number))?.methods.get(place);
        self.method(number).map(|(_, method)| method).or_else(stock)
    }

    /// The interface of this number as the image has it.
    fn noted(&self, id: u32) -> Option<&NotedInterface> {
        self.noted.iter().find(|(noted, _)| *noted == id).map(|(_, noted)| noted)
    }

    /// What people call it: `Store::put`, or its number where nobody knows a name.
    pub(crate) fn name(&self, number: u32) -> String {
        if let Some((interface, method)) = self.method(number) {
            return format!("{}::{}", interface.name, method.name);
        }
        let (id, method) = (interface_of(number), method_of(number));
        let noted = self.noted(id).map(|noted| {
            let place = noted.method_name(method);
            format!("{}::{}", noted.name, place.map_or(method.to_string(), str::to_owned))
        });
        let served = || {
            let (_, service) = self.services.iter().find(|(served, _)| *served == id)?;
            Some(format!("{}::{method}", service.interface().name))
        };
        // An image without notes may well call these, and all know their names.
        let stock = || {
            let interface = stock(id)?;
            let name = interface.methods.get(method as usize).map(|method| method.name);
            Some(format!("{}::{}", interface.name, name.map_or(method.to_string(), str::to_owned)))
        };
        noted.or_else(served).or_else(stock).unwrap_or_else(|| format!("call {number:#x}"))
    }

    /// Answers a call; the result is how many words it has.
    pub(crate) fn answer(
        &mut self,
        number: u32,
        guest: &mut Guest<'_>,
        words: &mut [u64; WORDS_MAX],
    ) -> Result<usize, NoAnswer> {
        let id = interface_of(number);
        // What was not compared is not answered: the guest could mean something else by its words,
        // and have the host write where none of its buffers is.
        if self.complete && self.noted(id).is_none() {
            let why = "the image does not say that it calls this interface: name it in \
                       entry!(main, calls = [...])";
            return Err(End::CallRefused { call: self.name(number), why: why.to_owned() }.into());
        }
        if let Some((_, service)) = self.services.iter_mut().find(|(served, _)| *served == id) {
            return service.answer(guest, Call { method: method_of(number), words });
        }
        let refused = Malformed::call(Refusal::NotServed);
        // A definition that has an error for it: only the image's own text tells here.
        let text = self.noted(id).and_then(|noted| noted.methods.get(method_of(number) as usize));
        if text.is_some_and(|text| text.contains(" -> Result<") && text.ends_with(", Refusal>")) {
            (words[0], words[1]) = (1, Refusal::NotServed.code());
            return Ok(2);
        }
        Err(refused.into())
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.services.iter().map(|(_, service)| service.interface().name);
        f.debug_set().entries(names).finish()
    }
}

/// The stock interface of this number.
fn stock(id: u32) -> Option<&'static Interface> {
    let known = [&abi::host::INTERFACE, &abi::host_address::INTERFACE, &abi::span::INTERFACE];
    known.into_iter().find(|interface| interface.id() == id)
}

/// The words of a call in the registers: the System V order, and on.
pub(crate) const fn words(r: &kvm_regs) -> [u64; WORDS_MAX] {
    [r.rdi, r.rsi, r.rdx, r.rcx, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15]
}

/// The registers that a result comes back in, in the order of its words.
pub(crate) const fn result(r: &kvm_regs) -> [u64; WORDS_MAX] {
    [r.rax, r.rdi, r.rsi, r.rdx, r.rcx, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14]
}

/// Puts the words of a result into the registers: RAX, then those of the arguments.
pub(crate) fn set_result(r: &mut kvm_regs, words: &[u64]) {
    let registers = [
        &mut r.rax, &mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.rcx, &mut r.r8, &mut r.r9,
        &mut r.r10, &mut r.r11, &mut r.r12, &mut r.r13, &mut r.r14,
    ];
    for (register, word) in registers.into_iter().zip(words) {
        *register = *word;
    }
}
