//! Recording: the tape that writes a log.

use crate::entry::{Asked, Done, Ends, Entry, Gave, Machine, Mark};
use crate::frame::{ENTRY_MAX, FrameWriter, IMAGE_MAX, LOG, MACHINE_MAX};
use portcall::tape::{Answered, Effect, Given, Question, Tape, Text};
use portcall::{End, Gpa, Guest, Memory};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log is handed on in pieces of this size, and at every tick.
const BUFFER: usize = 64 * 1024;

/// What the host does between two exits is written in entries of so many bytes and steps.
const PIECE: usize = 1 << 20;
const PIECES: usize = 1024;

type Sink = BufWriter<Box<dyn Write + Send>>;

/// A log in the making, of a VM with the image whose whole file is `image`: the tape to give to
/// [`Builder::tape`](portcall::Builder::tape), and what tells how it went.
pub fn record(sink: impl Write + Send + 'static, image: &[u8]) -> (Recorder, Recording) {
    let mut log = State { log: None, failed: None, scratch: Vec::new(), mark: Mark::Unknown };
    let sink: Sink = BufWriter::with_capacity(BUFFER, Box::new(sink));
    match FrameWriter::new(sink, &LOG) {
        Ok(writer) => log.log = Some(writer),
        Err(error) => log.failed = Some(error),
    }
    log.put_bytes(image, IMAGE_MAX);
    let state = Arc::new(Mutex::new(log));
    (Recorder(Arc::clone(&state)), Recording(state))
}

struct State {
    /// `None` once it has failed: what is there by then stays as it is.
    log: Option<FrameWriter<Sink>>,
    failed: Option<io::Error>,
    /// Where entries are put together.
    scratch: Vec<u8>,
    /// The text at the entry before.
    mark: Mark,
}

impl State {
    fn attempt(&mut self, write: impl FnOnce(&mut FrameWriter<Sink>) -> io::Result<()>) {
        if let Some(log) = &mut self.log
            && let Err(error) = write(log)
        {
            self.failed = Some(error);
            self.log = None;
        }
    }

    fn put_bytes(&mut self, bytes: &[u8], most: u64) {
        self.attempt(|log| log.put(bytes, most));
    }

    fn put_entry(&mut self, entry: &Entry) {
        self.put(entry, entry.excess(), ENTRY_MAX);
    }

    /// Writes what a log may have; what could not be read again is an error here.
    fn put(&mut self, entry: &impl Serialize, excess: Option<&'static str>, most: u64) {
        if let Some(what) = excess {
            return self.attempt(|_| Err(io::Error::new(io::ErrorKind::FileTooLarge, what)));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        match postcard::to_extend(entry, scratch) {
            Ok(bytes) => {
                self.put_bytes(&bytes, most);
                self.scratch = bytes;
            }
            Err(error) => self.attempt(|_| Err(io::Error::other(error.to_string()))),
        }
    }

    /// The text, where it is another than at the entry before.
    fn mark(&mut self, text: Text) -> Mark {
        let now = Mark::new(text);
        if std::mem::replace(&mut self.mark, now) == now { Mark::Same } else { now }
    }
}

/// Locks what a panic elsewhere leaves as good as it was: each entry is written as a whole.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tape that writes a log. An error of writing does not end the run: [`Recording::finish`]
/// says it.
pub struct Recorder(Arc<Mutex<State>>);

impl Tape for Recorder {
    fn start(&mut self, machine: &portcall::tape::Machine<'_>, _: &Memory) {
        let machine = Machine::new(machine);
        lock(&self.0).put(&machine, machine.excess(), MACHINE_MAX);
    }

    fn asked(
        &mut self,
        _: &mut Guest<'_>,
        _: &Question<'_>,
        _: &dyn Fn() -> Option<End>,
    ) -> Option<Given> {
        None
    }

    fn answered(&mut self, answered: &Answered<'_>) -> Option<End> {
        let mut state = lock(&self.0);
        let mark = state.mark(answered.question.text);
        let asked = Asked::new(&answered.question.what);
        let gave = Gave::new(answered.given);
        let done = answered.effects.iter().filter_map(Done::new).collect();
        state.put_entry(&Entry::Exit(asked, mark, done, gave, Ends(answered.ends)));
        None
    }

    fn between(&mut self, effects: &[Effect]) {
        let mut state = lock(&self.0);
        let (mut some, mut bytes) = (Vec::new(), 0);
        // A host may put as much into its guest as there is memory, and in as many steps as it
        // likes: that is more than one entry.
        for piece in effects.iter().flat_map(pieces) {
            bytes += if let Done::Write { bytes, .. } = &piece { bytes.len() } else { 0 };
            some.push(piece);
            if bytes >= PIECE || some.len() == PIECES {
                state.put_entry(&Entry::Between(std::mem::take(&mut some)));
                bytes = 0;
            }
        }
        if !some.is_empty() {
            state.put_entry(&Entry::Between(some));
        }
    }

    fn tick(&mut self, _: Text) -> Option<End> {
        // A run that is killed leaves a log that reads up to its last tick.
        lock(&self.0).attempt(FrameWriter::flush);
        None
    }

    fn ended(&mut self, end: End, text: Text) -> End {
        let mut state = lock(&self.0);
        let mark = state.mark(text);
        let entry = Entry::End(end, mark);
        state.put_entry(&entry);
        match entry {
            Entry::End(end, _) => end,
            _ => End::Stopped,
        }
    }
}

/// What the host did, what it wrote in pieces.
fn pieces(effect: &Effect) -> Vec<Done> {
    let Effect::Write { at, bytes } = effect else {
        return Done::new(effect).into_iter().collect();
    };
    let pieces = bytes.chunks(PIECE).zip((at.0..).step_by(PIECE));
    pieces.map(|(bytes, at)| Done::Write { at: Gpa(at), bytes: bytes.to_vec() }).collect()
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// A recording, seen from outside the VM.
pub struct Recording(Arc<Mutex<State>>);

impl Recording {
    /// Completes the log; of a run that a signal stopped, with its number. A log without this says
    /// so when it is replayed.
    ///
    /// # Errors
    /// The log cannot be written; not all of it is there.
    pub fn finish(self, signal: Option<i32>) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.put_entry(&Entry::Close(signal));
        state.attempt(FrameWriter::flush);
        state.failed.take().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}
