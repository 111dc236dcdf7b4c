//! The host's side of these exercises.
//!
//! | port | access | what |
//! | --- | --- | --- |
//! | 0x300 | OUT 1, 2 or 4 | prints that number, and a line feed |
//! | 0x301 | OUT 4 | prints the text at that address, up to its NUL, and how long it is |
//! | 0x302 | IN 4 | how many exits the guest has made so far, this one included |
//! | 0x304 | OUT 4 | asks where that guest-virtual address lies in the host's memory |
//! | 0x305, 0x306 | IN 4 | the answer, low and high half; all ones if there is none |
//! | 0x309 | OUT 4 | what the guest has understood: a wrong answer ends the run |
//!
//! An answer to 0x309 is the last number read at 0x302, or the two halves of the last address,
//! one XOR the other.

use portcall::{End, Guest, Gva, Ports};
use std::process::ExitCode;

/// The longest text that is printed, in bytes: a claim without an end must have one.
const TEXT_MAX: u64 = 4096;

#[derive(Default)]
struct Course {
    address: Option<u64>,
    /// What 0x309 must be told.
    wanted: Option<u32>,
}

impl Ports for Course {
    fn write(&mut self, guest: &mut Guest<'_>, port: u16, _: u8, value: u32) -> Result<(), End> {
        match port {
            0x300 => guest.print(format!("{value}\n")),
            0x301 => {
                let text = text_at(guest, value.into())?;
                guest.print(format!("[{} bytes] ", text.len()));
                guest.print(text);
                guest.print("\n");
            }
            0x304 => {
                let gpa = guest.translate(Gva(value.into()))?.map(|it| it.gpa);
                self.address = gpa.and_then(|it| guest.memory().host_address(it));
                self.wanted = self.address.map(|_| low(self.address) ^ high(self.address));
            }
            0x309 if self.wanted != Some(value) => {
                let message = format!("{value:#x} at port 0x309 is not the answer");
                return Err(End::HandlerFailed { message });
            }
            0x309 => guest.print("right\n"),
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, guest: &mut Guest<'_>, port: u16, _: u8) -> Result<u32, End> {
        Ok(match port {
            0x302 => {
                let exits = u32::try_from(guest.stats().exits()).unwrap_or(u32::MAX);
                self.wanted = Some(exits);
                exits
            }
            0x305 => low(self.address),
            0x306 => high(self.address),
            _ => u32::MAX,
        })
    }
}

/// The text at a guest-virtual address, without its NUL; as much of it as is there.
fn text_at(guest: &Guest<'_>, address: u64) -> Result<Vec<u8>, End> {
    let mut text = Vec::new();
    for at in address..address + TEXT_MAX {
        let mut byte = [0];
        if !guest.read_virtual(Gva(at), &mut byte)? || byte == [0] {
            break;
        }
        text.push(byte[0]);
    }
    Ok(text)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(address: Option<u64>) -> u32 {
    address.map_or(u32::MAX, |it| it as u32)
}

fn high(address: Option<u64>) -> u32 {
    address.map_or(u32::MAX, |it| (it >> 32) as u32)
}

fn main() -> ExitCode {
    cli::Experiment::new()
        .vm(|vm| vm.ports(0x300..=0x309, Course::default()))
        .jail(cli::Jail::new())
        .main()
}
