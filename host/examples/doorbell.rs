//! A device that is seen in memory: a buffer of its own, a doorbell, and what came of it. It is what
//! a driver's author has to work with, without the ports and without a typed call.
//!
//! The window is the page at 0xd0000000; registers have 4 bytes, and an access of any other size, or
//! elsewhere, is a mistake that ends the run.
//!
//! | offset | access | what |
//! | --- | --- | --- |
//! | 0x00 | read | `BELL`, by which a guest knows the device |
//! | 0x04 | write | appends these 4 bytes to the device's buffer |
//! | 0x08 | write | the doorbell: so many bytes of the buffer are a message, and the buffer is empty again |
//! | 0x0c | read | the status: 0 idle, 1 a message was taken, 2 it was refused |
//! | 0x10 | read | the bytes of all messages, summed |
//!
//! A message has at most [`MOST`] bytes. What is in it is the guest's: it is printed by its length
//! and its sum.

use portcall::{End, Gpa, Guest, Mmio};
use std::ops::Range;
use std::process::ExitCode;

const WINDOW: Range<u64> = 0xd000_0000..0xd000_1000;

const IDENTITY: u64 = 0x00;
const DATA: u64 = 0x04;
const DOORBELL: u64 = 0x08;
const STATUS: u64 = 0x0c;
const SUM: u64 = 0x10;

/// The most bytes of a message, and of the buffer: a guest writes as long as it likes.
const MOST: usize = 64;

#[derive(Default)]
struct Doorbell {
    buffer: Vec<u8>,
    status: u32,
    sum: u32,
}

impl Doorbell {
    /// The guest says that a message is there.
    fn ring(&mut self, guest: &mut Guest<'_>, size: u32) {
        let message = usize::try_from(size).ok().and_then(|size| self.buffer.get(..size));
        self.status = 2;
        if let Some(message) = message {
            let sum = message.iter().fold(0, |sum: u32, byte| sum.wrapping_add((*byte).into()));
            guest.print(format!("[device: {size} bytes, their sum is {sum}]\n"));
            (self.status, self.sum) = (1, self.sum.wrapping_add(sum));
        }
        self.buffer.clear();
    }
}

/// The end of a run whose guest does not keep to the table.
fn wrong(what: &str, gpa: Gpa, size: u8) -> End {
    End::HandlerFailed { message: format!("{what} of {size} bytes at {gpa} is not in its table") }
}

impl Mmio for Doorbell {
    fn read(&mut self, _: &mut Guest<'_>, gpa: Gpa, size: u8) -> Result<u64, End> {
        Ok(match (gpa.0 - WINDOW.start, size) {
            (IDENTITY, 4) => u32::from_le_bytes(*b"BELL").into(),
            (STATUS, 4) => self.status.into(),
            (SUM, 4) => self.sum.into(),
            _ => return Err(wrong("a read", gpa, size)),
        })
    }

    fn write(&mut self, guest: &mut Guest<'_>, gpa: Gpa, size: u8, value: u64) -> Result<(), End> {
        let Ok(value) = u32::try_from(value) else { return Err(wrong("a write", gpa, size)) };
        match (gpa.0 - WINDOW.start, size) {
            (DATA, 4) if self.buffer.len() < MOST => self.buffer.extend(value.to_le_bytes()),
            (DATA, 4) => {}
            (DOORBELL, 4) => self.ring(guest, value),
            _ => return Err(wrong("a write", gpa, size)),
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::Experiment::new().vm(|builder| builder.mmio(WINDOW, Doorbell::default())).main()
}
