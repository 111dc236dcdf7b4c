//! Logs of real runs, each in the three forms that the target takes.

use super::Seed;
use super::elf::load;
use fuzz_targets::file::{EXEC, RX, elf};
use portcall::layout::MIB;
use portcall::{End, Guest, Image, Kvm, Ports, Ring, Vm};
use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Answers, prints, annotates, logs and writes.
struct Handler;

impl Ports for Handler {
    fn read(&mut self, guest: &mut Guest<'_>, port: u16, _width: u8) -> Result<u32, End> {
        guest.print("text of the host's");
        guest.annotate("key", "value");
        guest.log(portcall::abi::host::Level::Info, "a line");
        let _ = guest.memory().write(portcall::Gpa(0x8000), b"written");
        let mut bytes = [0; 8];
        guest.read_virtual(portcall::Gva(MIB), &mut bytes)?;
        Ok(u32::from(port))
    }
}

/// A sink that is still there afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of a run of this code.
fn recorded(kvm: &Kvm, code: &[u8], ring: Ring) -> Result<Vec<u8>, Box<dyn Error>> {
    let file = elf(EXEC, MIB, &[load(RX, MIB, code, 0)], &[]);
    let image = Image::parse(&file)?;
    let sink = Shared::default();
    let (recorder, recording) = replay::record(sink.clone(), &file);
    let builder = Vm::builder(kvm, &image).memory(2 * MIB).ring(ring).arguments(["an argument"]);
    let mut vm = builder.ports(0x300..=0x301, Handler).tape(recorder).build()?;
    vm.run()?;
    recording.finish(None)?;
    let log = sink.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(log.clone())
}

/// The log as the target takes it where the target puts it together: frames with two bytes of
/// size.
fn framed(log: &[u8]) -> Vec<u8> {
    let (mut rest, mut framed) = (&log[16..], vec![2]);
    while let Some((head, behind)) = rest.split_at_checked(12) {
        let size = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let (content, next) = behind.split_at(size.min(behind.len()));
        framed.extend(&head[..2]);
        framed.extend(content);
        rest = next;
    }
    framed
}

pub(crate) fn seeds() -> Result<Vec<Seed>, Box<dyn Error>> {
    // in al, 0xea; out 0xe9, al; mov dx, 0x300; in eax, dx; out 0x80, eax; mov eax, 7; out 0xf4, eax
    let exits: &[u8] = &[
        0xe4, 0xea, 0xe6, 0xe9, 0x66, 0xba, 0x00, 0x03, 0xed, 0xe7, 0x80, 0xb8, 7, 0, 0, 0, 0xe7,
        0xf4,
    ];
    // ud2
    let exception: &[u8] = &[0x0f, 0x0b];
    // xor eax, eax; mov edi, 1; out 0xf7, eax
    let call: &[u8] = &[0x31, 0xc0, 0xbf, 1, 0, 0, 0, 0xe7, 0xf7];
    let kvm = Kvm::open()?;
    let mut seeds = Vec::new();
    for (name, code, ring, cut) in [
        ("exits", exits, Ring::Zero, 0),
        ("cut", exits, Ring::Three, 20),
        ("exception", exception, Ring::Three, 0),
        ("call", call, Ring::Zero, 0),
    ] {
        let mut log = recorded(&kvm, code, ring)?;
        log.truncate(log.len() - cut);
        let form = |first: u8| [&[first], &log[..]].concat();
        seeds.push((format!("{name}-as-it-is"), form(0)));
        seeds.push((format!("{name}-mended"), form(1)));
        seeds.push((format!("{name}-framed"), framed(&log)));
    }
    Ok(seeds)
}
