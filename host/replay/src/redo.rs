//! What the host did to the guest, done again.

use crate::entry::{Done, SHOWN};
use crate::words;
use portcall::{End, Gpa, Guest, Memory};

/// What a stop or a limit of the replay's own asks for.
pub(crate) type Reached<'r> = &'r dyn Fn() -> Option<End>;

/// Why not all is done that the host did.
pub(crate) enum Short<'d> {
    /// It read something else than what is there now, or wrote where there is no memory.
    Differs(Piece<'d>),
    /// The replay is to end. What a log has the host do may take long.
    Reached(End),
}

/// A piece of memory as the log has it.
pub(crate) struct Piece<'d> {
    at: Gpa,
    size: u64,
    /// How it began.
    start: &'d [u8],
    /// The checksum of what was read; `None` of what was written.
    sum: Option<u32>,
}

impl Piece<'_> {
    /// What the log has, and what there is now.
    pub(crate) fn told(&self, memory: &Memory) -> (String, String) {
        let (at, size) = (self.at, self.size);
        let (sum, now) = held(memory, at, size);
        let (mut expected, mut actual) =
            (words::read(at, size, self.start), words::read(at, size, &now));
        if sum.is_none() {
            actual.push_str(", where not all is memory");
        } else if expected == actual
            && let (Some(recorded), Some(sum)) = (self.sum, sum)
        {
            // They differ behind what is kept of them.
            expected = format!("{expected} (CRC-32 {recorded:#010x})");
            actual = format!("{actual} (CRC-32 {sum:#010x})");
        }
        (expected, actual)
    }
}

/// Does what the host did.
pub(crate) fn redo<'d>(
    done: &'d [Done],
    guest: &mut Guest<'_>,
    reached: Reached<'_>,
) -> Result<(), Short<'d>> {
    for done in done {
        if let Some(end) = reached() {
            return Err(Short::Reached(end));
        }
        match done {
            Done::Read { at, size, sum, start } => {
                if held(guest.memory(), *at, *size).0 != Some(*sum) {
                    let (at, size, sum) = (*at, *size, Some(*sum));
                    return Err(Short::Differs(Piece { at, size, start, sum }));
                }
            }
            Done::Write { at, bytes } => {
                if guest.memory().write(*at, bytes).is_err() {
                    let (at, size, start) =
                        (*at, bytes.len() as u64, &bytes[..bytes.len().min(SHOWN)]);
                    return Err(Short::Differs(Piece { at, size, start, sum: None }));
                }
            }
            Done::Print(text) => guest.print(text),
            Done::Annotate(key, value) => {
                guest.annotate(key, value);
            }
            Done::Log(level, text) => guest.log(Done::level(*level), text),
        }
    }
    Ok(())
}

/// The checksum of a piece of memory, if it is there, and its start. The size is the log's word,
/// so the memory is read by the page.
fn held(memory: &Memory, at: Gpa, size: u64) -> (Option<u32>, Vec<u8>) {
    let (mut sum, mut start) = (crc32fast::Hasher::new(), Vec::new());
    let mut done = 0;
    while done < size {
        let mut page = [0; 4096];
        let now = usize::try_from(size - done).unwrap_or(page.len()).min(page.len());
        let piece = &mut page[..now];
        let there = at.0.checked_add(done).map(|at| memory.read(Gpa(at), piece));
        if !matches!(there, Some(Ok(()))) {
            return (None, start);
        }
        if done == 0 {
            start.extend_from_slice(&piece[..now.min(SHOWN)]);
        }
        sum.update(piece);
        done += now as u64;
    }
    (Some(sum.finalize()), start)
}
