//! The relocations of a static position-independent image: the only ones that need no linker.

use crate::elf::file_range;
use crate::error::ImageError;
use crate::layout::Gpa;
use crate::segment::Segment;
use goblin::elf::dynamic::{DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTRELSZ, DT_RELA, DT_RELASZ};
use goblin::elf::reloc::{R_X86_64_NONE, R_X86_64_RELATIVE, r_to_str};

/// Bytes of the packed table of relative relocations (generic ABI; goblin does not name it).
const DT_RELRSZ: u64 = 35;
/// Its address.
const DT_RELR: u64 = 36;

/// A word to store after loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Where: 8 bytes inside a segment.
    pub gpa: Gpa,
    /// What: an address of the image, where it was loaded.
    pub value: u64,
}

/// Reads the tables that the dynamic table names (System V ABI, "Dynamic Section").
pub(crate) fn parse(
    bytes: &[u8],
    dynamic: &[u8],
    segments: &[Segment],
    bias: u64,
) -> Result<Vec<Relocation>, ImageError> {
    let (mut rela, mut rela_size, mut relr, mut relr_size) = (0, 0, 0, 0);
    let (mut jmprel, mut jmprel_size) = (0, 0);
    for [tag, value] in words(dynamic).as_chunks::<2>().0 {
        match *tag {
            DT_NULL => break,
            DT_NEEDED => {
                return Err(ImageError::Dynamic { what: "it needs shared libraries, DT_NEEDED" });
            }
            DT_JMPREL => jmprel = *value,
            DT_PLTRELSZ => jmprel_size = *value,
            DT_RELA => rela = *value,
            DT_RELASZ => rela_size = *value,
            DT_RELR => relr = *value,
            DT_RELRSZ => relr_size = *value,
            _ => {}
        }
    }
    let table = |address: u64, size: u64| {
        let address = address.wrapping_add(bias);
        let offset = segments.iter().find_map(|segment| {
            let into = address.checked_sub(segment.gva.0)?;
            (into < segment.file.len() as u64).then_some(segment.file.start as u64 + into)
        });
        // An address outside every segment is as wrong as an offset outside the file.
        let range = file_range(bytes, "a relocation table", offset.unwrap_or(u64::MAX), size)?;
        Ok::<_, ImageError>(words(&bytes[range]))
    };
    let mut relocations = Vec::new();
    let place = |index, address: u64| {
        let address = address.wrapping_add(bias);
        target(segments, address).ok_or(ImageError::RelocationOutside { index, address })
    };
    for (address, size) in [(rela, rela_size), (jmprel, jmprel_size)] {
        if size == 0 {
            continue;
        }
        let entries = table(address, size)?;
        for (index, [offset, info, addend]) in entries.as_chunks::<3>().0.iter().enumerate() {
            // The low half is the type, the high half a symbol, which a relative one has not.
            let [kind, _] = halves(*info);
            match kind {
                R_X86_64_NONE => {}
                R_X86_64_RELATIVE => {
                    let (segment, into) = place(index, *offset)?;
                    let gpa = Gpa(segment.gpa.0 + into);
                    relocations.push(Relocation { gpa, value: addend.wrapping_add(bias) });
                }
                other => return Err(ImageError::RelocationUnknown { index, kind: name(other) }),
            }
        }
    }
    if relr_size > 0 {
        for (index, address) in unpack_relr(&table(relr, relr_size)?).enumerate() {
            if index >= bytes.len() / 8 {
                return Err(ImageError::TooManyRelocations { most: bytes.len() / 8 });
            }
            let (segment, into) = place(index, address)?;
            let addend = word_at(&bytes[segment.file.clone()], into);
            let gpa = Gpa(segment.gpa.0 + into);
            relocations.push(Relocation { gpa, value: addend.wrapping_add(bias) });
        }
    }
    Ok(relocations)
}

/// The addresses a RELR table packs (generic ABI, "Relative Relocation Table"): an even word is
/// an address, an odd one a bitmap of the 63 words that follow the last.
fn unpack_relr(table: &[u64]) -> impl Iterator<Item = u64> {
    let mut next = 0u64;
    table.iter().flat_map(move |word| {
        // An address stands for itself: the first of a bitmap that begins there.
        let (base, bitmap) = if word & 1 == 0 { (*word, 1) } else { (next, word >> 1) };
        next = if word & 1 == 0 { word.wrapping_add(8) } else { next.wrapping_add(8 * 63) };
        let set = (0..63).filter(move |bit| bitmap >> bit & 1 == 1);
        set.map(move |bit| base.wrapping_add(8 * bit))
    })
}

/// The segment that holds all of the word at `address`, and the word's offset in it.
fn target(segments: &[Segment], address: u64) -> Option<(&Segment, u64)> {
    segments.iter().find_map(|segment| {
        let into = address.checked_sub(segment.gva.0)?;
        (into.checked_add(8)? <= segment.size).then_some((segment, into))
    })
}

/// The word at `offset` of a segment with these bytes in the file; what follows them is zero.
fn word_at(file: &[u8], offset: u64) -> u64 {
    let mut word = [0; 8];
    let from = usize::try_from(offset).ok().and_then(|offset| file.get(offset..));
    for (to, byte) in word.iter_mut().zip(from.unwrap_or_default()) {
        *to = *byte;
    }
    u64::from_le_bytes(word)
}

fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn name(kind: u32) -> String {
    match r_to_str(kind, goblin::elf::header::EM_X86_64) {
        unknown if unknown.starts_with("R_UNKNOWN") => kind.to_string(),
        known => known.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::unpack_relr;

    #[test]
    fn relr_bitmaps_follow_their_address() {
        let unpack = |table: &[u64]| unpack_relr(table).collect::<Vec<_>>();
        assert_eq!(unpack(&[0x1000, 0b1011]), [0x1000, 0x1008, 0x1018]);
        assert_eq!(unpack(&[0x1000, 1, 0b11]), [0x1000, 0x1008 + 8 * 63]);
        assert_eq!(unpack(&[]), [0; 0]);
        // Nothing a file can say overflows.
        assert_eq!(unpack(&[u64::MAX - 1, u64::MAX]).len(), 64);
    }
}
