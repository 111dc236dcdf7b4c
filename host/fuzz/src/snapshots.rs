//! Files of snapshots: read as `portcall run` does, up to where a VM would be made of one.

use crate::frames::{FRAME_HEAD, HEADER, framed, header_of, mended};
use crate::input::Input;
use portcall::Image;
use snapshot::{Cpu, FORMAT};
use std::io::Cursor;

/// Reads `data` as a snapshot: as it is; with its checksums put right; or put together from frames
/// that each have their size before them, in two bytes. The first byte says which. But for the
/// first way the processor is this one, whatever stands there.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let file = match input.u8() % 3 {
        0 => input.0.to_vec(),
        1 => mended(&with_our_cpu(input.0), &header()),
        _ => {
            let cpu = cpu();
            let size = u16::try_from(cpu.len()).expect("a small one").to_le_bytes();
            framed(Input(&[&size, &cpu[..], input.0].concat()), &header())
        }
    };
    read(file);
}

/// Reads it; whether it is a whole snapshot.
fn read(file: Vec<u8>) -> bool {
    let Ok((image, saved)) = snapshot::read(Cursor::new(file)) else { return false };
    let Ok(image) = Image::parse(&image) else { return false };
    let Ok(snapshot) = saved.snapshot(&image) else { return false };
    std::hint::black_box((snapshot.parts(), snapshot.ring(), format!("{snapshot:?}")));
    let bytes: u64 = snapshot.pages().map(|(_, pages)| pages.len() as u64).sum();
    assert_eq!(bytes, snapshot.size());
    true
}

fn header() -> [u8; HEADER] {
    header_of(&FORMAT.magic, FORMAT.version)
}

/// The frame of this machine's processor.
fn cpu() -> Vec<u8> {
    postcard::to_allocvec(&Cpu::this()).expect("a small one")
}

/// The file with this machine's processor for its first frame.
fn with_our_cpu(file: &[u8]) -> Vec<u8> {
    let Some((header, rest)) = file.split_at_checked(HEADER) else { return file.to_vec() };
    let size = Input(rest).u32() as usize;
    let behind = rest.get(FRAME_HEAD..).and_then(|rest| rest.get(size..)).unwrap_or_default();
    let cpu = cpu();
    let head =
        [&u32::try_from(cpu.len()).expect("a small one").to_le_bytes()[..], &[0; 8]].concat();
    [header, &head, &cpu, behind].concat()
}

#[cfg(test)]
mod tests {
    use super::{FRAME_HEAD, HEADER, header, mended, read, with_our_cpu};
    use std::path::Path;

    #[test]
    fn the_seeds_are_whole_snapshots_on_any_processor() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/snapshots");
        for name in ["ring-0-mended", "ring-3-mended"] {
            let mut seed = std::fs::read(seeds.join(name)).expect("there");
            // The first byte says which way it is read.
            let mut file = seed.split_off(1);
            file[HEADER + FRAME_HEAD + 1] ^= 0x20;
            assert!(!read(file.clone()), "{name}: another processor");
            assert!(read(mended(&with_our_cpu(&file), &header())), "{name}");
        }
    }
}
