//! What a test prints: kept up to a bound, or passed on at once.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much of the beginning and of the end is kept.
const HALF: usize = 64 * 1024;

/// A sink that keeps what it gets, for whoever has a clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Bytes between the two that are gone.
    gone: usize,
}

impl Text {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what there is.
    pub(crate) fn take(&self) -> Vec<u8> {
        let Kept { mut head, mut tail, mut gone } = std::mem::take(&mut *self.lock());
        let more = tail.len().saturating_sub(HALF);
        gone += more;
        tail.drain(..more);
        if gone > 0 {
            head.extend_from_slice(format!("\n... {gone} bytes are left out ...\n").as_bytes());
        }
        head.append(&mut tail);
        head
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.lock();
        let first = bytes.len().min(HALF - kept.head.len());
        kept.head.extend_from_slice(&bytes[..first]);
        kept.tail.extend_from_slice(&bytes[first..]);
        // Not each time: what is moved then is half of it.
        if kept.tail.len() > 2 * HALF {
            let more = kept.tail.len() - HALF;
            kept.tail.drain(..more);
            kept.gone += more;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{HALF, Text};
    use std::io::Write;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut text = Text::default();
        text.write_all(b"begin ").expect("it takes all");
        assert_eq!(text.take(), b"begin ");
        text.write_all(b"begin").expect("it takes all");
        for _ in 0..100 {
            text.write_all(&[b'x'; HALF / 3]).expect("it takes all");
        }
        text.write_all(b"end").expect("it takes all");
        let taken = text.take();
        let gone = 100 * (HALF / 3) + 8 - 2 * HALF;
        let middle = format!("\n... {gone} bytes are left out ...\n");
        assert!(taken.starts_with(b"beginxx") && taken.ends_with(b"xxend"));
        assert_eq!(taken.len(), 2 * HALF + middle.len());
        assert!(String::from_utf8_lossy(&taken).contains(&middle));
        assert_eq!(text.take(), b"");
    }
}
