//! The guest's text: out of its window, through a buffer, into the host's sink.

use crate::layout::{Gpa, Layout};
use crate::limit::Limit;
use crate::memory::Memory;
use crate::outcome::{End, Stats};
use crate::tape::Text;
use abi::console::{CAPACITY, HEADER, READ_INDEX, WRITE_INDEX};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// The text is handed on when this much has come together, at the latest.
const BUFFER: usize = 64 * 1024;

/// The start and the factor of the 64-bit FNV-1a hash.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// One vCPU's console.
pub(crate) struct Console {
    sink: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    /// How much text there may be, how much more of it, and whether there was even more.
    limit: Option<u64>,
    left: u64,
    over: bool,
    window: Gpa,
    /// Bytes ever taken. Ours, not the copy that the guest sees.
    taken: u64,
    /// Bytes ever received, and, for a tape, their hash.
    received: u64,
    hash: Option<u64>,
    /// After how many bytes a tape wants to have the hash, and that.
    watched: Option<u64>,
    start: Option<u64>,
}

impl Console {
    pub(crate) fn new(sink: Box<dyn Write + Send>, layout: &Layout, limit: Option<u64>) -> Self {
        let window = Gpa(layout.window());
        Self {
            sink,
            buffer: Vec::new(),
            limit,
            left: limit.unwrap_or(u64::MAX),
            over: false,
            window,
            taken: 0,
            received: 0,
            hash: None,
            watched: None,
            start: None,
        }
    }

    /// Takes bytes that came through the console port; what stands in the window was taken
    /// before, so that the order is kept.
    pub(crate) fn push<'b>(&mut self, bytes: impl Iterator<Item = &'b u8>, stats: &mut Stats) {
        let before = self.buffer.len();
        self.buffer.extend(bytes);
        stats.console_bytes += self.receive(before);
    }

    /// Takes what stands in the window. Its write index is a claim: whatever it says, at most
    /// the window is read, and what it claims beyond that counts as lost.
    pub(crate) fn take(&mut self, memory: &Memory, stats: &mut Stats) {
        let index = |offset| Gpa(self.window.0 + offset);
        let Ok(written) = memory.load_u64(index(WRITE_INDEX)) else { return };
        let claimed = written.wrapping_sub(self.taken);
        if claimed == 0 {
            return;
        }
        let there = claimed.min(CAPACITY);
        stats.console_lost = stats.console_lost.saturating_add(claimed - there);
        let from = written.wrapping_sub(there) % CAPACITY;
        let before = self.buffer.len();
        let head = there.min(CAPACITY - from);
        for (at, size) in [(from, head), (0, there - head)] {
            let start = self.buffer.len();
            self.buffer.resize(start + usize::try_from(size).unwrap_or(0), 0);
            let text = Gpa(self.window.0 + HEADER + at);
            if memory.read(text, &mut self.buffer[start..]).is_err() {
                self.buffer.truncate(start);
            }
        }
        self.taken = written;
        stats.console_bytes += self.receive(before);
    }

    /// Shows the guest how much room there is, in answer to an exit of its own: at a tick this
    /// would make its next exit a matter of time. Nothing here believes what stands there.
    pub(crate) fn publish(&self, memory: &Memory) {
        let _ = memory.store_u64_unnoted(Gpa(self.window.0 + READ_INDEX), self.taken);
    }

    /// Keeps account of what was received, for tapes, and of the first so many bytes by themselves.
    pub(crate) fn start_hash(&mut self, watched: Option<u64>) {
        self.hash = Some(FNV_START);
        self.watched = watched;
        self.start = self.hash.filter(|_| watched == Some(0));
    }

    /// What has come into the buffer behind `before`, as far as the limit allows; how much of it
    /// that is.
    fn receive(&mut self, before: usize) -> u64 {
        let there = (self.buffer.len() - before) as u64;
        if there > self.left {
            self.over = true;
            self.buffer.truncate(before + usize::try_from(self.left).unwrap_or(0));
        }
        let new = &self.buffer[before..];
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        let watched = self.watched.filter(|_| self.start.is_none());
        let left = watched.and_then(|watched| watched.checked_sub(self.received));
        let first = left.and_then(|left| new.get(..usize::try_from(left).ok()?));
        if let (Some(hash), Some(first)) = (self.hash, first) {
            self.start = Some(first.iter().fold(hash, step));
        }
        let count = new.len() as u64;
        self.left -= count;
        self.received += count;
        self.hash = self.hash.map(|hash| new.iter().fold(hash, step));
        count
    }

    /// What was received so far.
    pub(crate) fn text(&self, stats: &Stats) -> Text {
        Text {
            bytes: self.received,
            hash: self.hash.unwrap_or(0),
            start: self.start,
            lost: stats.console_lost,
        }
    }

    /// Takes the host's own words, behind all that the guest has printed so far.
    pub(crate) fn add(&mut self, text: &[u8], memory: &Memory, stats: &mut Stats) {
        self.take(memory, stats);
        let before = self.buffer.len();
        self.buffer.extend_from_slice(text);
        self.receive(before);
    }

    /// How much was ever taken from the window.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// The window is as it was when so much had been taken from it; text that was not handed on is
    /// gone.
    pub(crate) fn resume_at(&mut self, taken: u64) {
        self.buffer.clear();
        self.taken = taken;
    }

    /// The limit begins anew.
    pub(crate) fn start_afresh(&mut self) {
        self.left = self.limit.unwrap_or(u64::MAX);
        self.over = false;
    }

    /// Whether text is to be looked at sooner than it is handed on.
    pub(crate) const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// The end that there is where there was more text than is allowed.
    pub(crate) fn limit_reached(&self) -> Option<End> {
        self.limit.filter(|_| self.over).map(|most| End::LimitReached(Limit::Console(most)))
    }

    /// Whether the text should be handed on rather than waited with: much has come together, or
    /// there is to be no more of it.
    pub(crate) const fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER || self.over
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Hands everything on to the sink. A sink that blocks is interrupted by the VM's signal;
    /// `give_up` then says whether to leave the rest, which stays here.
    pub(crate) fn flush(&mut self, mut give_up: impl FnMut() -> bool) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            if done == self.buffer.len() {
                break self.sink.flush();
            }
            match self.sink.write(&self.buffer[done..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if give_up() {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.buffer.drain(..done);
        result
    }

    /// Begins again with an empty window.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
        (self.taken, self.received) = (0, 0);
        if self.hash.is_some() {
            self.start_hash(self.watched);
        }
    }

    /// Drops what no one took, and says how much it was.
    pub(crate) fn discard(&mut self) -> u64 {
        let lost = self.buffer.len() as u64;
        self.buffer.clear();
        lost
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Console({} bytes taken)", self.taken)
    }
}

/// A console sink that keeps the text, for tests and for hosts that want it in memory.
///
/// ```
/// # use std::io::Write;
/// let capture = portcall::Capture::new();
/// capture.clone().write_all(b"text").unwrap();
/// assert_eq!(capture.text(), "text");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What has come so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has come so far; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
