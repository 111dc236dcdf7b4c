//! The classic exercises of a virtualization course, as handlers on raw ports: how a guest prints
//! by exits, counts them, and learns where its memory lies.
//!
//! | port | access | what |
//! | --- | --- | --- |
//! | 0x300 | OUT 1, 2 or 4 | prints that number, and a line feed |
//! | 0x301 | OUT 4 | prints the text at that address, up to its NUL: one exit, whatever its length |
//! | 0x301 | IN 4 | how many bytes the last one had; all ones if it was refused |
//! | 0x302 | IN 4 | how many exits the guest has made so far, this one included |
//! | 0x303 | OUT | asks for one kind of exit: 0 for IN, 1 for OUT |
//! | 0x303 | IN 4 | how many of that kind there were; all ones if there is no such kind |
//! | 0x304 | OUT 4 | asks where that guest-virtual address leads |
//! | 0x305, 0x306 | IN 4 | its guest-physical address, low and high half |
//! | 0x307, 0x308 | IN 4 | its address in the host's own memory, low and high half |
//!
//! Addresses are guest-virtual, 32 bits wide, and claims: where nothing is mapped, or what is
//! mapped is no RAM, both answers are all ones. A text is read through the guest's page tables,
//! once, and refused as a whole (nothing is printed, and port 0x301 says so) if it is not there or
//! has no NUL in its first [`TEXT_MAX`] bytes. A wrong pointer is the guest's mistake, so it is
//! the guest that is told, and it goes on.

use portcall::exit::ExitKind;
use portcall::{End, Guest, Gva, Ports};
use std::io::{Write, stdout};
use std::process::ExitCode;

const NUMBER: u16 = 0x300;
const TEXT: u16 = 0x301;
const EXITS: u16 = 0x302;
const EXITS_OF_KIND: u16 = 0x303;
const ADDRESS: u16 = 0x304;
const GPA_LOW: u16 = 0x305;
const GPA_HIGH: u16 = 0x306;
const HVA_LOW: u16 = 0x307;
const HVA_HIGH: u16 = 0x308;

/// The longest text that is printed, in bytes: a claim without an end must have one.
const TEXT_MAX: usize = 4096;

/// Bytes that are mapped together.
const PAGE: u64 = 4096;

/// What says that there is no answer.
const NONE: u32 = u32::MAX;

/// What the guest asked for last, where the answer is an exit of its own.
#[derive(Default)]
struct Exercises {
    printed: Option<u32>,
    kind: Option<ExitKind>,
    gpa: Option<u64>,
    hva: Option<u64>,
}

impl Ports for Exercises {
    fn write(&mut self, guest: &mut Guest<'_>, port: u16, _: u8, value: u32) -> Result<(), End> {
        match port {
            NUMBER => guest.print(format!("{value}\n")),
            TEXT => {
                let text = text_at(guest, value)?;
                self.printed = text.as_ref().map(|it| saturated(it.len() as u64));
                guest.print(text.unwrap_or_default());
            }
            EXITS_OF_KIND => {
                self.kind = match value {
                    0 => Some(ExitKind::In),
                    1 => Some(ExitKind::Out),
                    _ => None,
                };
            }
            ADDRESS => {
                let gpa = guest.translate(Gva(value.into()))?.map(|it| it.gpa);
                self.hva = gpa.and_then(|it| guest.memory().host_address(it));
                // An entry may lead to where there is no RAM; that is no answer either.
                self.gpa = gpa.filter(|_| self.hva.is_some()).map(|it| it.0);
            }
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, guest: &mut Guest<'_>, port: u16, _: u8) -> Result<u32, End> {
        let stats = guest.stats();
        Ok(match port {
            TEXT => self.printed.unwrap_or(NONE),
            EXITS => saturated(stats.exits()),
            EXITS_OF_KIND => self.kind.map_or(NONE, |kind| saturated(stats.exits_of(kind))),
            GPA_LOW => low(self.gpa),
            GPA_HIGH => high(self.gpa),
            HVA_LOW => low(self.hva),
            HVA_HIGH => high(self.hva),
            _ => NONE,
        })
    }
}

/// The text at a guest-virtual address, without its NUL; `None` if it is not there or does not
/// end.
fn text_at(guest: &Guest<'_>, address: u32) -> Result<Option<Vec<u8>>, End> {
    let mut text = Vec::new();
    while text.len() < TEXT_MAX {
        // Page by page, as the text may end right before one that is not mapped.
        let at = u64::from(address) + text.len() as u64;
        let size = usize::try_from(PAGE - at % PAGE).unwrap_or(TEXT_MAX);
        let mut piece = vec![0; size.min(TEXT_MAX - text.len())];
        if !guest.read_virtual(Gva(at), &mut piece)? {
            return Ok(None);
        }
        let end = piece.iter().position(|byte| *byte == 0);
        text.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
        if end.is_some() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(address: Option<u64>) -> u32 {
    address.map_or(NONE, |it| it as u32)
}

fn high(address: Option<u64>) -> u32 {
    address.map_or(NONE, |it| (it >> 32) as u32)
}

fn main() -> ExitCode {
    cli::Experiment::new()
        .vm(|builder| builder.ports(NUMBER..=HVA_HIGH, Exercises::default()))
        .after(|vm| Ok(writeln!(stdout(), "The host has counted {} exits.", vm.stats().exits())?))
        .main()
}
