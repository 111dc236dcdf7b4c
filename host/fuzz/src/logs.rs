//! Logs of runs: read as `portcall replay` does. Playing one takes a VM; what a tape does with
//! made-up exits is not looked at here.

use crate::input::Input;
use crc32fast::Hasher;
use portcall::Image;
use portcall::abi;
use replay::Log;
use std::io::{Cursor, Write};

/// A log's header, and what comes before a frame's content: the format is in
/// host/replay/src/frame.rs.
const HEADER: usize = 16;
const FRAME_HEAD: usize = 12;

/// Reads `data` as a log: as it is; with its checksums put right; or put together from frames that
/// each have their size before them, in two bytes. The first byte says which.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let log = match input.u8() % 3 {
        0 => input.0.to_vec(),
        1 => mended(input.0),
        _ => framed(input),
    };
    let Ok(log) = Log::read(Cursor::new(log)) else { return };
    std::hint::black_box((log.exits(), log.state(), format!("{log:?}")));
    let machine = log.machine();
    std::hint::black_box((machine.ring(), machine.arguments.len()));
    let mut console = log.console(std::io::sink());
    console.write_all(b"text").expect("a sink takes all");
    let image = log.image().to_vec();
    let Ok(image) = Image::parse(&image) else { return };
    let (player, found) = log.play(&image).expect("it was read once");
    drop(player);
    let _ = found.get();
}

/// The header that this version reads.
fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(b"\x89PCLOG\r\n");
    header[8..12].copy_from_slice(&2_u32.to_le_bytes());
    header[12..].copy_from_slice(&abi::VERSION.to_le_bytes());
    header
}

/// The same log with a header that is read on and checksums that are right, as far as its lengths
/// lead.
fn mended(data: &[u8]) -> Vec<u8> {
    let mut log = data.to_vec();
    let Some(start) = log.get_mut(..HEADER) else { return log };
    start.copy_from_slice(&header());
    let mut sum = Hasher::new();
    sum.update(start);
    let mut at = HEADER;
    while let Some(head) = log.get_mut(at..at + FRAME_HEAD) {
        sum.update(&head[..4]);
        head[4..8].copy_from_slice(&sum.clone().finalize().to_le_bytes());
        let size = Input(head).u32() as usize;
        let content = at + FRAME_HEAD;
        let Some(bytes) = log.get(content..).and_then(|rest| rest.get(..size)) else { break };
        sum.update(bytes);
        log[at + 8..content].copy_from_slice(&sum.clone().finalize().to_le_bytes());
        at = content + size;
    }
    log
}

/// A log of the frames that stand in the input, one after the other.
fn framed(mut input: Input<'_>) -> Vec<u8> {
    let mut log = header().to_vec();
    let mut sum = Hasher::new();
    sum.update(&log);
    while !input.is_empty() {
        let size = usize::from(input.u16());
        let content = input.take(size);
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
        log.extend_from_slice(&size);
        sum.update(&size);
        log.extend_from_slice(&sum.clone().finalize().to_le_bytes());
        sum.update(content);
        log.extend_from_slice(&sum.clone().finalize().to_le_bytes());
        log.extend_from_slice(content);
    }
    log
}

#[cfg(test)]
mod tests {
    use super::{Input, Log, framed, mended};
    use std::io::Cursor;

    /// An image of no bytes, a machine of a MiB in ring 0 without arguments, and the close.
    const FRAMES: &[u8] = &[0, 0, 5, 0, 0x80, 0x80, 0x40, 0, 0, 2, 0, 3, 0];

    #[test]
    fn logs_that_are_put_together_or_mended_are_read() {
        let whole = framed(Input(FRAMES));
        let log = Log::read(Cursor::new(whole.clone())).expect("a log");
        assert_eq!(log.machine().memory, 1 << 20);
        assert_eq!(log.state(), replay::State::Complete(None));
        let mut damaged = whole.clone();
        for at in [0, 8, 12, 20, 24, 32] {
            damaged[at] ^= 0xff;
        }
        Log::read(Cursor::new(damaged.clone())).expect_err("damaged");
        assert_eq!(mended(&damaged), whole);
    }
}
