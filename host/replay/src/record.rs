//! Recording: the tape that writes a log.

use crate::entry::{Asked, Done, Ends, Entry, Gave, Machine, Mark};
use crate::frame::FrameWriter;
use portcall::tape::{Answered, Effect, Given, Question, Tape, Text};
use portcall::{End, Guest, Memory};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log is handed on in pieces of this size, and at every tick.
const BUFFER: usize = 64 * 1024;

type Sink = BufWriter<Box<dyn Write + Send>>;

/// A log in the making, of a VM with the image whose whole file is `image`: the tape to give to
/// [`Builder::tape`](portcall::Builder::tape), and what tells how it went.
pub fn record(sink: impl Write + Send + 'static, image: &[u8]) -> (Recorder, Recording) {
    let mut log = State { log: None, failed: None, scratch: Vec::new(), mark: Mark::Unknown };
    let sink: Sink = BufWriter::with_capacity(BUFFER, Box::new(sink));
    match FrameWriter::new(sink) {
        Ok(writer) => log.log = Some(writer),
        Err(error) => log.failed = Some(error),
    }
    log.put_bytes(image);
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

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.attempt(|log| log.put(bytes));
    }

    fn put(&mut self, entry: &impl Serialize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        match postcard::to_extend(entry, scratch) {
            Ok(bytes) => {
                self.put_bytes(&bytes);
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
        lock(&self.0).put(&Machine::new(machine));
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
        state.put(&Entry::Exit(asked, mark, done(answered.effects), gave, Ends(answered.ends)));
        None
    }

    fn between(&mut self, effects: &[Effect]) {
        lock(&self.0).put(&Entry::Between(done(effects)));
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
        state.put(&entry);
        match entry {
            Entry::End(end, _) => end,
            _ => End::Stopped,
        }
    }
}

fn done(effects: &[Effect]) -> Vec<Done> {
    effects.iter().filter_map(Done::new).collect()
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// A recording, seen from outside the VM.
pub struct Recording(Arc<Mutex<State>>);

impl Recording {
    /// Completes the log, with the process code that the run comes to. A log without this says so
    /// when it is replayed.
    ///
    /// # Errors
    /// The log cannot be written; not all of it is there.
    pub fn finish(self, code: u8) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.put(&Entry::Close(code));
        state.attempt(FrameWriter::flush);
        state.failed.take().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}
