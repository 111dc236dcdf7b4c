//! The host's input, as the input port gives it: a byte at a time.

use std::fmt;
use std::io::{self, Read};

pub(crate) struct Input {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    at: usize,
}

impl Input {
    pub(crate) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, buffer: Vec::new(), at: 0 }
    }

    /// Whether the next byte has to come from the source.
    pub(crate) const fn would_wait(&self) -> bool {
        self.at >= self.buffer.len()
    }

    /// Drops what was read ahead.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
        self.at = 0;
    }

    /// The next byte; `None` at the end of the source, or where the VM's signal interrupted the
    /// wait and `give_up` says so.
    pub(crate) fn next(&mut self, mut give_up: impl FnMut() -> bool) -> io::Result<Option<u8>> {
        while self.would_wait() {
            self.at = 0;
            self.buffer.resize(4096, 0);
            let read = self.source.read(&mut self.buffer);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if give_up() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        self.at += 1;
        Ok(self.buffer.get(self.at - 1).copied())
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({} bytes waiting)", self.buffer.len() - self.at)
    }
}
