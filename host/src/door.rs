//! The way in: the host calls functions of the guest.
//!
//! A guest that answers calls waits at the port [`SERVE`](abi::port::SERVE) once its `main` has
//! returned. A call is put into its [mailbox](abi::mailbox), and the guest runs on until it waits
//! there again: one KVM_RUN, if it makes no exits of its own.

use crate::claims::Claims;
use crate::error::{Error, InterfaceError, MemoryError};
use crate::layout::Gpa;
use crate::outcome::End;
use crate::vm::Vm;
use abi::calls::{
    Interface, Malformed, Reader, Refusal, Request, Returned, Space, Transport, WORDS_MAX,
    method_of,
};
use abi::mailbox::{ANSWERED, BYTES, NUMBER, SIZE, WORDS};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Why a call of the host's has no result.
///
/// ```
/// use portcall::{CallError, End, Image, Kvm, Vm};
///
/// abi::hypercalls! {
///     /// Doubles numbers.
///     pub trait Double {
///         /// Twice as much.
///         fn double(&mut self, number: u64) -> u64;
///     }
/// }
///
/// // hlt: a guest that answers nothing.
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xf4])?);
/// let mut vm = Vm::builder(&kvm, &image).build()?;
/// match Client(vm.door()).double(4) {
///     Err(CallError::Ended(End::Halted) | CallError::Interface(_)) => {}
///     other => unreachable!("{other:?}"),
/// }
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The guest has ended: in this call, or before. It answers no more.
    #[error("the guest has ended: {0}")]
    Ended(End),
    /// The guest or the mailbox refused the call; the next may go well.
    #[error("{call} is refused: {why}")]
    Refused {
        /// The interface and the function, as `Calc::add`.
        call: String,
        /// Why.
        why: String,
    },
    /// The image does not answer this interface, or defines it differently.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The host failed.
    #[error(transparent)]
    Host(#[from] Error),
}

const _: () = assert!(WORDS == NUMBER + 8);

/// What runs a VM to its end, in place of [`Vm::run`].
type Runner<'v> = dyn FnMut(&mut Vm) -> Result<End, Error> + 'v;

/// The way into a guest, for the `Client`s that [`hypercalls!`](abi::hypercalls) makes:
/// `calc::Client(vm.door()).add(2, 3)?`.
///
/// A guest that has not run yet runs its `main` first. A function that panics, faults or runs
/// too long ends the guest for good: every later call gives that end.
///
/// ```
/// use portcall::{CallError, Vm};
/// use std::time::Duration;
///
/// abi::hypercalls! {
///     /// Doubles numbers, in the guest.
///     pub trait Double {
///         /// Twice as much.
///         fn double(&mut self, number: u64) -> u64;
///     }
/// }
///
/// /// Asks a guest that was built with `serves = [double: ...]`.
/// fn ask(vm: &mut Vm) -> Result<u64, CallError> {
///     let four = Client(vm.door()).double(2)?;
///     Client(vm.door().within(Duration::from_millis(10))).double(four)
/// }
/// ```
pub struct Door<'v> {
    vm: &'v mut Vm,
    limit: Option<Duration>,
    runner: Option<&'v mut Runner<'v>>,
    /// The arguments' bytes, as they will stand in the mailbox, and where in it the next go.
    bytes: Vec<u8>,
    free: u64,
    /// Where those lie that the guest may change, in order.
    lent: VecDeque<u64>,
    /// Bytes of an argument that does not fit the mailbox, and those that there is room for.
    no_room: Option<(u64, u64)>,
    /// What went wrong on the way, for the reply to say.
    failed: Option<CallError>,
    call: Option<(&'static Interface, u32)>,
    /// The bytes of the last result.
    result: Vec<u8>,
}

impl Vm {
    /// The way into a guest that answers calls.
    pub fn door(&mut self) -> Door<'_> {
        Door {
            vm: self,
            limit: None,
            runner: None,
            bytes: Vec::new(),
            free: BYTES,
            lent: VecDeque::new(),
            no_room: None,
            failed: None,
            call: None,
            result: Vec::new(),
        }
    }
}

impl fmt::Debug for Door<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("vm", &self.vm)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<'v> Door<'v> {
    /// Gives each call this long; if it is not said, the VM's own
    /// [limit](crate::Limit::Time), afresh.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Has `runner` run the guest in each call, up to where it waits again or ends: for those who drive
    /// a VM by [`Vm::step`], for a debugger or a coverage. It gives the end that it came to.
    #[must_use]
    pub fn by(mut self, runner: &'v mut (dyn FnMut(&mut Vm) -> Result<End, Error> + 'v)) -> Self {
        self.runner = Some(runner);
        self
    }

    /// Lets the guest go on.
    fn resume(&mut self) -> Result<End, Error> {
        match &mut self.runner {
            Some(runner) => {
                self.vm.begin_afresh(self.limit);
                runner(self.vm)
            }
            None => self.vm.resume(self.limit),
        }
    }

    /// Room for so many bytes, if there is.
    fn room(&mut self, size: usize) -> Option<u64> {
        let (offset, size) = (self.free, size as u64);
        let end = offset.checked_add(size).filter(|end| *end <= SIZE);
        let Some(end) = end else {
            self.no_room.get_or_insert((size, SIZE - offset));
            return None;
        };
        // The next ones aligned, as a guest may want to have them.
        self.free = end.next_multiple_of(8).min(SIZE);
        Some(offset)
    }

    const fn place(&self, offset: u64) -> Gpa {
        Gpa(self.vm.origin.layout.mailbox.start + offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.vm.memory.write(self.place(offset), bytes)?)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.vm.memory.read(self.place(offset), bytes)?;
        self.vm.memory.note_read(self.place(offset), bytes);
        Ok(())
    }

    /// Makes the call that stands in the mailbox, or says why not.
    fn make<const A: usize, const R: usize>(
        &mut self,
        request: &Request<A, Self>,
    ) -> Result<[u64; R], CallError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        if let Some((size, room)) = self.no_room.take() {
            let why = format!("an argument of {size} bytes, where the mailbox has room for {room}");
            return Err(CallError::Refused { call: call_name(self.call), why });
        }
        // Without an interface to answer, an image has no mailbox: nothing is written before this.
        self.vm.check_serves(request.interface())?;
        if self.vm.end.is_none() {
            self.resume()?;
        }
        match &self.vm.end {
            Some(End::Serving) => {}
            Some(end) => return Err(CallError::Ended(end.clone())),
            None => return Err(CallError::Ended(End::Stopped)),
        }
        // The number, and the words behind it, in one piece.
        let mut head = [0; 8 * (1 + WORDS_MAX)];
        let words = [u64::from(request.number())].into_iter().chain(*request.words());
        for (to, word) in head.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        self.write(NUMBER, &head[..8 * (1 + A)])?;
        if !self.bytes.is_empty() {
            self.write(BYTES, &self.bytes)?;
        }
        match self.resume()? {
            End::Serving if self.vm.answered == ANSWERED => {}
            End::Serving => {
                let code = u64::from(self.vm.answered);
                let known = Refusal::ALL.into_iter().find(|refusal| refusal.code() == code);
                let why = known.map_or(format!("refusal {code}"), |refusal| refusal.to_string());
                return Err(CallError::Refused { call: call_name(self.call), why });
            }
            end => return Err(CallError::Ended(end)),
        }
        let mut bytes = [0; 8 * WORDS_MAX];
        let bytes = &mut bytes[..8 * R];
        self.read(WORDS, bytes).map_err(Error::from)?;
        let mut result = [0; R];
        for (word, from) in result.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*from);
        }
        Ok(result)
    }
}

/// What people call it: `Calc::add`.
fn call_name(call: Option<(&'static Interface, u32)>) -> String {
    call.map_or_else(String::new, |(interface, number)| {
        let method = interface.methods.get(method_of(number) as usize);
        format!("{}::{}", interface.name, method.map_or("?", |method| method.name))
    })
}

impl Transport for Door<'_> {
    type Reply<R> = Result<R, CallError>;
    const HAS_SPACE: bool = true;

    fn lend(&mut self, bytes: &[u8]) -> u64 {
        let Some(offset) = self.room(bytes.len()) else { return 0 };
        // Up to where these begin, which is aligned.
        self.bytes.resize(usize::try_from(offset - BYTES).unwrap_or_default(), 0);
        self.bytes.extend_from_slice(bytes);
        offset
    }

    fn lend_mut(&mut self, bytes: &mut [u8]) -> u64 {
        let offset = self.lend(bytes);
        self.lent.push_back(offset);
        offset
    }

    fn take_back(&mut self, bytes: &mut [u8]) {
        let Some(offset) = self.lent.pop_front().filter(|_| self.failed.is_none()) else { return };
        if let Err(error) = self.read(offset, bytes) {
            self.failed = Some(Error::from(error).into());
        }
    }

    fn space(&mut self) -> (u64, u64) {
        // For what the guest makes for the result alone; the rest it leaves where it is.
        (self.free, SIZE - self.free)
    }

    fn call<const A: usize, const R: usize>(&mut self, request: Request<A, Self>) -> [u64; R] {
        self.call = Some((request.interface(), request.number()));
        self.make(&request).unwrap_or_else(|error| {
            self.failed = Some(error);
            [0; R]
        })
    }

    fn reply<'r, R: Returned<'r>>(&'r mut self, words: &[u64]) -> Result<R, CallError> {
        self.free = BYTES;
        self.bytes.clear();
        self.lent.clear();
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let name = self.call;
        let Self { vm, result, .. } = self;
        let claims = Claims::new(&vm.memory, &vm.vcpu);
        let mut given = Given { claims, result: Some(result) };
        let taken = R::take(&mut Reader::new(words), &mut given);
        taken.map_err(|malformed| {
            // A guest that breaks its own definition is not asked again.
            let why = format!("its result: {malformed}");
            vm.tell_between();
            let end = vm.end_by_tape(End::CallRefused { call: call_name(name), why });
            vm.end = Some(end.clone());
            CallError::Ended(end)
        })
    }
}

/// A result of bytes, in the guest's own memory: where it is and how large are claims, and what is
/// there is copied once.
struct Given<'m, 'r> {
    claims: Claims<'m>,
    /// `None` once it holds a result: there is one at most.
    result: Option<&'r mut Vec<u8>>,
}

impl<'r> Space<'r> for Given<'_, 'r> {
    fn bytes(&mut self, address: u64, size: u64) -> Result<&'r [u8], Malformed> {
        let result = self.result.take().ok_or(Malformed::pointer(address, size))?;
        *result = self.claims.read(address, size)?;
        Ok(result)
    }
}

impl Vm {
    /// Whether the image answers an interface, as it is defined here.
    fn check_serves(&mut self, interface: &'static Interface) -> Result<(), InterfaceError> {
        if self.checked.is_some_and(|checked| std::ptr::eq(checked, interface)) {
            return Ok(());
        }
        let noted = self.origin.notes.serves.iter().find(|noted| noted.name == interface.name);
        let noted = noted.ok_or(InterfaceError::NotServed { interface: interface.name })?;
        noted.is_answered_as(interface)?;
        self.checked = Some(interface);
        Ok(())
    }
}
