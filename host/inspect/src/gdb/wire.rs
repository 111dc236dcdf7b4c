//! Bytes to packets and back: the framing of gdb's remote serial protocol ("Overview" in its
//! manual's appendix E), in front of a stub that takes every byte for the beginning of something.
//!
//! What is no packet is dropped here, a packet with a wrong checksum is asked for again, and one that
//! is longer than any may be is dropped up to its end.

use super::place::{Client, LOOK};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

/// The most bytes of a packet, from `$` to its checksum: what the client is told.
pub(super) const PACKET_MAX: usize = 0x4000;

/// The most bytes of memory that are read at once: two characters each, and room to spare.
const READ_MAX: u64 = 0x1000;

/// How long a client may take nothing before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A packet, from `$` on, with the right checksum.
    Packet(Vec<u8>),
    /// Ctrl-C.
    Interrupt,
    /// Our last packet did not arrive.
    Again,
    /// This one did not: it is to be sent again.
    Broken,
}

/// Makes packets of bytes.
#[derive(Debug, Default)]
pub(super) struct Framing {
    packet: Vec<u8>,
    /// Of a packet that is too long.
    is_dropped: bool,
    /// Characters of the checksum that are still to come.
    left: Option<u8>,
}

impl Framing {
    /// What a byte completes.
    pub(super) fn take(&mut self, byte: u8) -> Option<Incoming> {
        if self.packet.is_empty() {
            match byte {
                b'$' => self.packet.push(byte),
                0x03 => return Some(Incoming::Interrupt),
                b'-' => return Some(Incoming::Again),
                _ => {}
            }
            return None;
        }
        if byte == b'$' && self.left.is_none() {
            // No `$` is inside of a packet: the one before was cut off.
            *self = Self { packet: vec![byte], ..Self::default() };
            return None;
        }
        if self.packet.len() < PACKET_MAX {
            self.packet.push(byte);
        } else {
            self.is_dropped = true;
        }
        match &mut self.left {
            None if byte == b'#' => self.left = Some(2),
            None => {}
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    return Some(std::mem::take(self).whole());
                }
            }
        }
        None
    }

    fn whole(self) -> Incoming {
        let Some((body, checksum)) =
            self.packet.split_at_checked(self.packet.len().saturating_sub(3))
        else {
            return Incoming::Broken;
        };
        let body = body.get(1..).unwrap_or_default();
        let said = checksum.get(1..).and_then(|it| std::str::from_utf8(it).ok());
        let said = said.and_then(|it| u8::from_str_radix(it, 16).ok());
        if self.is_dropped || said != Some(sum(body)) {
            return Incoming::Broken;
        }
        Incoming::Packet(packet(&bounded(body)))
    }
}

/// A read of memory asks for no more than an answer has room for: the protocol lets an answer be
/// shorter.
fn bounded(body: &[u8]) -> Vec<u8> {
    let whole = || {
        let (at, size) = std::str::from_utf8(body.strip_prefix(b"m")?).ok()?.split_once(',')?;
        let size = u64::from_str_radix(size, 16).unwrap_or(u64::MAX).min(READ_MAX);
        Some(format!("m{at},{size:x}").into_bytes())
    };
    whole().unwrap_or_else(|| body.to_vec())
}

/// The sum of bytes, which is a packet's checksum.
fn sum(body: &[u8]) -> u8 {
    body.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// A packet of a body that needs no escapes.
pub(super) fn packet(body: &[u8]) -> Vec<u8> {
    [b"$", body, b"#", format!("{:02x}", sum(body)).as_bytes()].concat()
}

/// A packet that puts words before the client's user.
pub(super) fn words(text: &str) -> Vec<u8> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    packet(format!("O{hex}").as_bytes())
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Incomings {
    client: Client,
    framing: Framing,
    waiting: VecDeque<Incoming>,
}

/// How many packets are looked at ahead: the rest waits in the kernel.
const AHEAD: usize = 64;

impl Incomings {
    pub(super) fn new(client: Client) -> Self {
        Self { client, framing: Framing::default(), waiting: VecDeque::new() }
    }

    /// The next that comes in so long; `None` where none does.
    pub(super) fn next(&mut self, patience: Duration) -> io::Result<Option<Incoming>> {
        let mut bytes = [0; 4096];
        let until = Instant::now() + patience;
        while self.waiting.len() < AHEAD {
            let left = until.saturating_duration_since(Instant::now());
            let left = if self.waiting.is_empty() { left } else { Duration::ZERO };
            match self.client.read(&mut bytes, left)? {
                None => break,
                Some(0) if self.waiting.is_empty() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Some(0) => break,
                Some(read) => {
                    let framing = &mut self.framing;
                    self.waiting.extend(bytes[..read].iter().filter_map(|it| framing.take(*it)));
                }
            }
        }
        Ok(self.waiting.pop_front())
    }
}

/// The writing end, which the stub has.
#[derive(Debug)]
pub(super) struct Outgoings {
    client: Client,
    /// What is not written yet.
    buffer: Vec<u8>,
    /// The last packet, in case it is asked for again.
    last: Vec<u8>,
}

impl Outgoings {
    pub(super) const fn new(client: Client) -> Self {
        Self { client, buffer: Vec::new(), last: Vec::new() }
    }

    /// The last packet once more.
    pub(super) fn again(&mut self) -> io::Result<()> {
        let last = self.last.clone();
        self.send(&last)
    }

    /// Writes all of it, to a client that takes it.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !bytes.is_empty() {
            match self.client.write(bytes, LOOK)? {
                Some(written) => bytes = &bytes[written..],
                None if Instant::now() >= until => return Err(io::ErrorKind::TimedOut.into()),
                None => {}
            }
        }
        Ok(())
    }
}

impl gdbstub::conn::Connection for Outgoings {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.buffer.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        self.send(&bytes)?;
        self.last = bytes;
        // An acknowledgement is no part of what is said again.
        if self.last.first() == Some(&b'+') {
            self.last.remove(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Framing, Incoming, PACKET_MAX, packet};

    fn all(bytes: &[u8]) -> Vec<Incoming> {
        let mut framing = Framing::default();
        bytes.iter().filter_map(|byte| framing.take(*byte)).collect()
    }

    #[test]
    fn packets_are_found_in_rubbish() {
        let ok = || Incoming::Packet(b"$g#67".to_vec());
        assert_eq!(all(b"+rubbish\xff$g#67more+"), [ok()]);
        assert_eq!(
            all(b"$g#6$g#67"),
            [Incoming::Broken],
            "the checksum is `6$`, and `g#67` rubbish"
        );
        assert_eq!(all(b"$half$g#67"), [ok()]);
        assert_eq!(
            all(b"$g#68$g#zz$g#67\x03-"),
            [Incoming::Broken, Incoming::Broken, ok(), Incoming::Interrupt, Incoming::Again]
        );
        assert_eq!(all(b"$#00"), [Incoming::Packet(b"$#00".to_vec())]);
    }

    #[test]
    fn one_that_is_too_long_is_dropped_and_takes_no_memory() {
        let mut framing = Framing::default();
        for _ in 0..1 << 20 {
            assert_eq!(framing.take(if framing.packet.is_empty() { b'$' } else { b'x' }), None);
        }
        assert!(framing.packet.len() <= PACKET_MAX);
        let end = b"#00".map(|byte| framing.take(byte));
        assert_eq!(end, [None, None, Some(Incoming::Broken)]);
        assert_eq!(framing.take(b'$'), None);
        let next = b"g#67".map(|byte| framing.take(byte));
        assert_eq!(next[3], Some(Incoming::Packet(b"$g#67".to_vec())));
    }

    #[test]
    fn reads_are_cut_to_what_an_answer_holds() {
        for size in ["1001", "ffffffffffffffff", "fffffffffffffffffffffffff"] {
            let asked = packet(format!("m10,{size}").as_bytes());
            assert_eq!(all(&asked), [Incoming::Packet(packet(b"m10,1000"))]);
        }
        let asked = packet(b"m10,8");
        assert_eq!(all(&asked), [Incoming::Packet(asked.clone())]);
    }
}
