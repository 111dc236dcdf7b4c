//! Snapshots of small guests that are ready, in the forms that the target takes.

use super::Seed;
use super::elf::load;
use fuzz_targets::file::{EXEC, RX, elf};
use portcall::layout::MIB;
use portcall::stock::Stock;
use portcall::{Image, Kvm, Ring, Vm, abi};
use snapshot::Cpu;
use std::error::Error;

/// Where the code is, so that it fits into 1 MiB.
const CODE: u64 = 0x1_0000;

pub(crate) fn seeds() -> Result<Vec<Seed>, Box<dyn Error>> {
    let number = abi::host::INTERFACE.number(abi::host::INTERFACE.place("ready")).to_le_bytes();
    // mov eax, NUMBER; mov edi, 0x8000; mov esi, 16; out 0xf7, eax
    let call = [0xbf, 0, 0x80, 0, 0, 0xbe, 16, 0, 0, 0, 0xe7, 0xf7];
    let code = [&[0xb8][..], &number, &call].concat();
    let file = elf(EXEC, CODE, &[load(RX, CODE, &code, 0)], &[]);
    let image = Image::parse(&file)?;
    let kvm = Kvm::open()?;
    let mut seeds = Vec::new();
    for (name, ring) in [("ring-0", Ring::Zero), ("ring-3", Ring::Three)] {
        let builder = Vm::builder(&kvm, &image).memory(MIB).ring(ring).arguments(["an argument"]);
        let mut vm = builder.serve(Stock::new()).build()?;
        vm.run_to_ready()?;
        let mut bytes = Vec::new();
        snapshot::write_for(&mut bytes, &vm.snapshot()?, &file, &Cpu::this())?;
        seeds.push((format!("{name}-mended"), [&[1], &bytes[..]].concat()));
        if ring == Ring::Zero {
            seeds.push((format!("{name}-as-it-is"), [&[0], &bytes[..]].concat()));
            seeds.push((format!("{name}-framed"), framed(&bytes)));
        }
    }
    Ok(seeds)
}

/// The frames behind that of the processor, each with two bytes of size; those that are larger
/// than that are cut.
fn framed(file: &[u8]) -> Vec<u8> {
    let (mut rest, mut framed) = (&file[16..], vec![2]);
    let mut first = true;
    while let Some((head, behind)) = rest.split_at_checked(12) {
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (content, next) = behind.split_at(size.min(behind.len()));
        // Pages up to 60 KiB and their address.
        let content = &content[..content.len().min(60 * 1024 + 8)];
        if !std::mem::take(&mut first) {
            framed.extend(u16::try_from(content.len()).unwrap_or(u16::MAX).to_le_bytes());
            framed.extend(content);
        }
        rest = next;
    }
    framed
}
