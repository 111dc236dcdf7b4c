//! The stock interface, answered: what a guest may ask any host that allows it.
//!
//! The contract has a section for each call. A VM answers them if it was given them:
//!
//! ```
//! # let kvm = portcall::Kvm::open()?;
//! # let image = portcall::Image::flat(&[0xf4])?;
//! use portcall::stock::{Stock, StockAddress, StockSpans};
//!
//! let vm = portcall::Vm::builder(&kvm, &image)
//!     .serve(Stock::new())
//!     .serve(StockSpans::unheard()) // or `heard`, with an observer that looks for them
//!     .serve(StockAddress) // only where the guest may know the host's addresses
//!     .build()?;
//! # Ok::<(), portcall::Error>(())
//! ```

use crate::claims::Claims;
use crate::exit::ExitKind;
use crate::layout::Gva;
use crate::ports::Guest;
use crate::ready::Piece;
use crate::service::{Call, NoAnswer, Service};
use abi::calls::Refusal;
use abi::calls::{Interface, Malformed, Serve};
use abi::host::{self, Host, Level};
use abi::host_address::{self, HostAddress};
use abi::span::{self, Span};
use std::io;
use std::time::Instant;

/// Answers [`abi::host`].
#[derive(Debug)]
pub struct Stock {
    /// When the guest's clock was 0.
    start: Instant,
}

impl Stock {
    /// The guest's clock is 0 now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for Stock {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Stock {
    fn interface(&self) -> &'static Interface {
        &host::INTERFACE
    }

    fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer> {
        let mut claims = guest.claims();
        // Found before anything is written: the guest may have its page tables in the buffer.
        let seed = if call.method == READY { Some(seed(&claims, call.words)?) } else { None };
        let answers = Answers { start: self.start, claims: guest.claims(), guest: &mut *guest };
        let count = host::Server(answers).serve(call.method, call.words, &mut claims)?;
        if seed.is_some() {
            guest.kept.seed = seed;
        }
        Ok(count)
    }
}

/// The call by which a guest says that it is set up.
const READY: u32 = host::INTERFACE.place("ready");

/// Where the buffer of such a call lies.
fn seed(claims: &Claims<'_>, words: &[u64]) -> Result<Vec<Piece>, Malformed> {
    let (address, size) = (words[0], words[1]);
    if size > host::SEED_MAX {
        return Err(Malformed::too_large(size, host::SEED_MAX).of("seed"));
    }
    claims.writable(address, size).map_err(|malformed| malformed.of("seed"))
}

/// Answers one guest, for the time of one call.
struct Answers<'g, 'a> {
    start: Instant,
    claims: Claims<'a>,
    guest: &'g mut Guest<'a>,
}

impl Host for Answers<'_, '_> {
    fn argument_count(&mut self) -> u32 {
        u32::try_from(self.guest.arguments().len()).unwrap_or(u32::MAX)
    }

    fn argument(&mut self, place: u32) -> Option<&str> {
        self.guest.arguments().get(usize::try_from(place).ok()?).map(String::as_str)
    }

    fn exits(&mut self) -> u64 {
        self.guest.kept.exits(self.guest.stats)
    }

    fn exits_of_kind(&mut self, kind: u32) -> Option<u64> {
        let kind = *ExitKind::ALL.get(usize::try_from(kind).ok()?)?;
        Some(self.guest.kept.exits_of(kind, self.guest.stats))
    }

    fn translate(&mut self, gva: u64) -> Option<u64> {
        self.claims.translate(Gva(gva)).map(|found| found.gpa.0)
    }

    fn clock(&mut self) -> u64 {
        self.guest.kept.clock(self.start.elapsed())
    }

    #[expect(clippy::panic, reason = "a handler that cannot answer ends the run by it")]
    fn random(&mut self, into: &mut [u8]) {
        if let Err(error) = fill_with_random(into) {
            panic!("the kernel gives no random bytes: {error}");
        }
    }

    fn ready(&mut self, seed: &mut [u8]) {
        self.random(seed);
    }

    fn log(&mut self, level: Level, text: &str) {
        self.guest.log(level, text);
    }

    fn annotate(&mut self, key: &str, value: &str) -> bool {
        self.guest.annotate(key, value)
    }
}

/// getrandom(2), as often as it takes.
pub(crate) fn fill_with_random(mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: `bytes` is writable for as many bytes.
        let done = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        match usize::try_from(done) {
            Ok(done) => bytes = &mut bytes[done..],
            Err(_) => {
                let error = io::Error::last_os_error();
                // A tick of the VM's.
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Answers [`abi::host_address`]. A guest that is told knows something of the host that it could
/// use against it: for experiments.
#[derive(Clone, Copy, Debug, Default)]
pub struct StockAddress;

impl Service for StockAddress {
    fn interface(&self) -> &'static Interface {
        &host_address::INTERFACE
    }

    fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer> {
        let mut claims = guest.claims();
        let server = &mut host_address::Server(Addresses(guest.claims()));
        Ok(server.serve(call.method, call.words, &mut claims)?)
    }
}

struct Addresses<'a>(Claims<'a>);

impl HostAddress for Addresses<'_> {
    fn host_address(&mut self, gva: u64) -> Option<u64> {
        let found = self.0.translate(Gva(gva))?;
        self.0.memory().host_address(found.gpa)
    }
}

/// Answers [`abi::span`]: says whether someone listens. Who does is an [`Observer`](crate::Observer)
/// of calls, to whom a span is what the guest said and was told, also in a replay.
#[derive(Clone, Copy, Debug)]
pub struct StockSpans {
    /// The last span's id, where someone listens.
    last: Option<u64>,
}

impl StockSpans {
    /// Someone listens.
    #[must_use]
    pub const fn heard() -> Self {
        Self { last: Some(span::NOBODY) }
    }

    /// Nobody does: a guest is told so once, and says no more.
    #[must_use]
    pub const fn unheard() -> Self {
        Self { last: None }
    }
}

impl Span for StockSpans {
    fn begin(&mut self, _: &str) -> Result<u64, Refusal> {
        let Some(last) = &mut self.last else { return Ok(span::NOBODY) };
        *last += 1;
        Ok(*last)
    }

    fn end(&mut self, _: u64) {}
}

impl Service for StockSpans {
    fn interface(&self) -> &'static Interface {
        &span::INTERFACE
    }

    fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer> {
        let mut server = span::Server(*self);
        let count = server.serve(call.method, call.words, &mut guest.claims())?;
        *self = server.0;
        Ok(count)
    }
}
