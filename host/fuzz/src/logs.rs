//! Logs of runs: read as `portcall replay` does. Playing one takes a VM; what a tape does with
//! made-up exits is not looked at here.

use crate::frames::{HEADER, framed, header_of, mended};
use crate::input::Input;
use portcall::Image;
use replay::Log;
use std::io::{Cursor, Write};

/// Reads `data` as a log: as it is; with its checksums put right; or put together from frames that
/// each have their size before them, in two bytes. The first byte says which.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let log = match input.u8() % 3 {
        0 => input.0.to_vec(),
        1 => mended(input.0, &header()),
        _ => framed(input, &header()),
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
    header_of(b"\x89PCLOG\r\n", 3)
}

#[cfg(test)]
mod tests {
    use super::{Input, Log, framed, header, mended};
    use std::io::Cursor;

    /// An image of no bytes, a machine of a MiB in ring 0 without arguments, windows and MSRs, and
    /// the close.
    const FRAMES: &[u8] = &[0, 0, 7, 0, 0x80, 0x80, 0x40, 0, 0, 0, 0, 2, 0, 3, 0];

    #[test]
    fn logs_that_are_put_together_or_mended_are_read() {
        let whole = framed(Input(FRAMES), &header());
        let log = Log::read(Cursor::new(whole.clone())).expect("a log");
        assert_eq!(log.machine().memory, 1 << 20);
        assert_eq!(log.state(), replay::State::Complete(None));
        let mut damaged = whole.clone();
        for at in [0, 8, 12, 20, 24, 32] {
            damaged[at] ^= 0xff;
        }
        Log::read(Cursor::new(damaged.clone())).expect_err("damaged");
        assert_eq!(mended(&damaged, &header()), whole);
    }
}
