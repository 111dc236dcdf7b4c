//! What a guest prints and logs, its first and its last, for a page about the run.

use portcall::abi::host::Level;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of the console that are kept at each end.
const BYTES: usize = 48 << 10;
/// Lines of the log that are kept at each end, and bytes of each.
const LINES: usize = 100;
const LINE: usize = 300;

/// What was kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The console: its first bytes, and the last behind those.
    pub(crate) first: Vec<u8>,
    pub(crate) last: VecDeque<u8>,
    /// How many there were between them.
    pub(crate) between: u64,
    pub(crate) first_lines: Vec<(&'static str, String)>,
    pub(crate) last_lines: VecDeque<(&'static str, String)>,
    pub(crate) lines_between: u64,
}

/// Keeps it; clones share what is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Kept>>);

impl Heard {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest printed.
    pub(crate) fn printed(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        let room = (BYTES - kept.first.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        kept.first.extend_from_slice(first);
        // Of many at once only the last ones are copied.
        let skipped = rest.len().saturating_sub(BYTES);
        kept.last.extend(&rest[skipped..]);
        let over = kept.last.len().saturating_sub(BYTES);
        kept.last.drain(..over);
        kept.between += (skipped + over) as u64;
    }

    /// The guest logged.
    pub(crate) fn logged(&self, level: Level, text: &str) {
        let mut kept = self.kept();
        let cut = if text.len() > LINE { "\u{2026}" } else { "" };
        let line = (level.name(), format!("{}{cut}", &text[..text.floor_char_boundary(LINE)]));
        if kept.first_lines.len() < LINES {
            return kept.first_lines.push(line);
        }
        if kept.last_lines.len() == LINES {
            kept.last_lines.pop_front();
            kept.lines_between += 1;
        }
        kept.last_lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, Heard, LINE, LINES};
    use portcall::abi::host::Level;

    #[test]
    fn the_first_and_the_last_are_kept_and_the_rest_is_counted() {
        let heard = Heard::default();
        let all: Vec<u8> = (0..=250).cycle().take(5 * BYTES + 7).collect();
        heard.printed(&all[..3 * BYTES]);
        all[3 * BYTES..].chunks(1000).for_each(|piece| heard.printed(piece));
        for i in 0..2 * LINES + 5 {
            heard.logged(Level::Info, &"\u{fc}".repeat(LINE + i));
        }
        let kept = heard.kept();
        assert_eq!(kept.first, all[..BYTES]);
        assert!(kept.last.iter().eq(&all[all.len() - BYTES..]));
        assert_eq!(kept.between, (3 * BYTES + 7) as u64);
        assert_eq!(
            (kept.first_lines.len(), kept.last_lines.len(), kept.lines_between),
            (LINES, LINES, 5)
        );
        assert!(kept.first_lines[0].1.len() <= LINE + 3);
    }
}
