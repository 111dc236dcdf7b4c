//! The seam for record and replay: a tape sees all that the guest asks of its host, and either
//! answers itself or is told what the host's answer was.

use crate::answer::guest;
use crate::error::Error;
use crate::exit::{Exit, Io};
use crate::layout::Gpa;
use crate::memory::Memory;
use crate::outcome::End;
use crate::ports::Guest;
use crate::registers::Ring;
use crate::service;
use crate::vm::Vm;
use abi::calls::WORDS_MAX;
use abi::host::Level;
use abi::port;

/// What a VM is made of besides its image.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Machine<'a> {
    /// Bytes of RAM.
    pub memory: u64,
    /// The ring that the guest starts in.
    pub ring: Ring,
    /// The guest's arguments.
    pub arguments: &'a [String],
}

/// An exit that wants an answer, or ends the run. Those that the host itself asked for, by a signal
/// or for debugging, are none.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Question<'a> {
    /// What the guest wants.
    pub what: What<'a>,
    /// What it has printed by then.
    pub text: Text,
}

/// What the guest wants.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum What<'a> {
    /// A port access.
    Port {
        /// The port.
        port: u16,
        /// Bytes of one element: 1, 2 or 4.
        width: u8,
        /// Elements; more than 1 for a string instruction.
        count: u32,
        /// The elements, where it writes; `None` where it reads.
        written: Option<&'a [u8]>,
        /// Whether a handler or the input gives the answer. Without, it follows from what the
        /// guest itself does.
        by_host: bool,
    },
    /// A typed hypercall.
    Call {
        /// Its number.
        number: u32,
        /// Its words; those behind the arguments mean nothing.
        words: &'a [u64; WORDS_MAX],
        /// How many words the arguments have, where one of the services knows the call; or 0.
        arguments: usize,
    },
    /// Anything else that KVM_RUN returned for.
    Exit(&'a Exit),
}

/// Console text so far, the host's own words among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// How many bytes.
    pub bytes: u64,
    /// Their hash, by which two texts are told apart (FNV-1a).
    pub hash: u64,
    /// The hash of its first [`Tape::watched`] bytes, once they are there.
    pub start: Option<u64>,
    /// How many were lost because the guest did not wait for room. How many that are is a matter
    /// of time.
    pub lost: u64,
}

/// What the host did to the guest, or had from it, besides the answer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// It read what the guest handed over: by [`Claims`](crate::claims::Claims), by
    /// [`Guest::read_virtual`], or as the result of a call.
    Read {
        /// Where, in one piece of RAM.
        at: Gpa,
        /// What was there.
        bytes: Vec<u8>,
    },
    /// It wrote to memory.
    Write {
        /// Where.
        at: Gpa,
        /// What.
        bytes: Vec<u8>,
    },
    /// It printed behind what the guest had printed.
    Print(Vec<u8>),
    /// It left an annotation.
    Annotate {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// It told the observers something.
    Log(Level, String),
}

/// What the guest is given for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing: it goes on.
    Nothing,
    /// The bytes of an IN, all elements.
    Bytes(Vec<u8>),
    /// The words of a call's result.
    Words(Vec<u64>),
}

/// A question, answered.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Answered<'a> {
    /// What the guest asked.
    pub question: &'a Question<'a>,
    /// What it was given. Words that are the same as before the call may be left out at the end.
    pub given: &'a Given,
    /// What the host did on the way, in order.
    pub effects: &'a [Effect],
    /// Whether the run ends with it. [`Tape::ended`] follows.
    pub ends: bool,
}

/// Records a run, or plays a recorded one. Give it to [`Builder::tape`](crate::Builder::tape).
///
/// With a tape everything that the host writes through [`Memory`] is noted for it.
/// [`Memory::as_mmap`] is the way around that: what is written there is in no recording.
pub trait Tape: Send {
    /// The VM is built; this is its memory, all in place.
    fn start(&mut self, machine: &Machine<'_>, memory: &Memory);

    /// After how many bytes of text the hash is wanted, in [`Text::start`]: where a run was ended
    /// while the guest printed, a replay is compared up to there.
    fn watched(&self) -> Option<u64> {
        None
    }

    /// The guest asks. What it is to be given, if the tape knows: then nobody else is asked, and
    /// what the host did to the guest is the tape's to do again. `None` lets the host answer.
    ///
    /// A tape that takes its time looks at `reached` meanwhile: the end that a stop or a limit
    /// asks for, if one does.
    fn asked(
        &mut self,
        guest: &mut Guest<'_>,
        question: &Question<'_>,
        reached: &dyn Fn() -> Option<End>,
    ) -> Option<Given>;

    /// The guest was answered. An end is that of the run.
    fn answered(&mut self, answered: &Answered<'_>) -> Option<End>;

    /// The host did this on its own, while the guest did not run.
    fn between(&mut self, effects: &[Effect]);

    /// A tick came, while the guest ran or the host was at work. An end is that of the run.
    fn tick(&mut self, text: Text) -> Option<End>;

    /// The run ends like this, or as the result says.
    fn ended(&mut self, end: End, text: Text) -> End;
}

impl std::fmt::Debug for dyn Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tape")
    }
}

impl Vm {
    /// The tape sees everything from here on.
    pub(crate) fn put_in(&mut self, mut tape: Box<dyn Tape>) {
        let (memory, ring) = (self.origin.memory, self.origin.ring);
        tape.start(&Machine { memory, ring, arguments: &self.origin.arguments }, &self.memory);
        self.memory.start_journal();
        self.console.start_hash(tape.watched());
        self.tape = Some(tape);
    }

    /// Step 11 with a tape.
    pub(crate) fn answer_by_tape(
        &mut self,
        tape: &mut dyn Tape,
        exit: &Exit,
    ) -> Result<Option<End>, Error> {
        self.console.take(&self.memory, &mut self.stats);
        if self.console.is_full()
            && let Some(end) = self.hand_on()?
        {
            return Ok(Some(end));
        }
        let text = self.console.text(&self.stats);
        let io = if let Exit::Io(io) = exit { Some(io) } else { None };
        let mut bytes = Vec::new();
        if let Some(io) = io.filter(|io| !io.read) {
            bytes.extend_from_slice(self.vcpu.elements(io));
        }
        let call = io.filter(|io| io.is_call()).map(|io| self.vcpu.element(io, 0));
        let before = call.map(|_| self.vcpu.registers()).transpose()?;
        let words = before.as_ref().map(service::words).unwrap_or_default();
        let what = match (io, call) {
            (_, Some(number)) => {
                let arguments = self.calls.method(number).map(|(_, it)| it.argument_words());
                What::Call { number, words: &words, arguments: arguments.unwrap_or(0) }
            }
            (Some(io), None) => What::Port {
                port: io.port,
                width: io.width,
                count: io.count,
                written: (!io.read).then_some(&bytes),
                by_host: (io.port == port::INPUT && io.read) || self.ports.find(io.port).is_some(),
            },
            (None, None) => What::Exit(exit),
        };
        let question = Question { what, text };
        let observed = call.and_then(|number| Some((number, self.describe_call(number, &words)?)));
        let played = tape.asked(&mut guest!(self), &question, &|| self.bounds.reached());
        let end = match &played {
            Some(given) => {
                if waits(exit) {
                    // It may have been an end, from which the host went on: what an end shows the
                    // guest, it is to see here as well.
                    self.console.publish(&self.memory);
                }
                let end = self.give(io, given)?;
                if let (Some((number, call)), Given::Words(results)) = (observed, given) {
                    self.report_call(number, &call, &words, results);
                }
                end
            }
            None => self.answer_exit(exit)?,
        };
        let given = match (played, io, before) {
            (Some(given), ..) => given,
            (None, _, Some(before)) => Given::Words(changed(&before, &self.vcpu.registers()?)),
            (None, Some(io), _) if io.read => Given::Bytes(self.vcpu.elements(io).to_vec()),
            _ => Given::Nothing,
        };
        let effects = self.memory.effects();
        let ends = end.is_some();
        let answered = Answered { question: &question, given: &given, effects: &effects, ends };
        let by_tape = tape.answered(&answered);
        Ok(end.or(by_tape))
    }

    /// Gives the guest what a tape says.
    fn give(&mut self, io: Option<&Io>, given: &Given) -> Result<Option<End>, Error> {
        match (io, given) {
            (Some(io), Given::Bytes(bytes)) if io.read => {
                for (to, from) in self.vcpu.elements(io).iter_mut().zip(bytes) {
                    *to = *from;
                }
            }
            (Some(_), Given::Words(words)) if !words.is_empty() => {
                self.vcpu.change_registers(|r| service::set_result(r, words))?;
            }
            _ => {}
        }
        self.after_handler()
    }

    /// Tells the tape what the host did since the guest ran last.
    pub(crate) fn tell_between(&mut self) {
        if let Some(tape) = &mut self.tape {
            let effects = self.memory.effects();
            if !effects.is_empty() {
                tape.between(&effects);
            }
        }
    }

    /// The end as the tape has it.
    pub(crate) fn end_by_tape(&mut self, end: End) -> End {
        let text = self.console.text(&self.stats);
        match &mut self.tape {
            Some(tape) => tape.ended(end, text),
            None => end,
        }
    }
}

/// Whether it is what a guest does that the host may run on: wait for a call, or halt.
const fn waits(exit: &Exit) -> bool {
    match exit {
        Exit::Io(io) => io.port == port::SERVE && !io.read,
        Exit::Hlt => true,
        _ => false,
    }
}

/// The words of a result, up to the last register that was changed for it.
fn changed(before: &kvm_bindings::kvm_regs, after: &kvm_bindings::kvm_regs) -> Vec<u64> {
    let (before, after) = (service::result(before), service::result(after));
    let last = (0..WORDS_MAX).rev().find(|i| before[*i] != after[*i]);
    after[..last.map_or(0, |last| last + 1)].to_vec()
}
