//! Step 9: the image and the boot information go into the guest's memory.

use crate::elf::Image;
use crate::error::{ConfigError, MemoryError};
use crate::layout::{Gpa, HOLE_END, HOLE_START, IMAGE_MIN, Layout};
use crate::memory::Memory;
use abi::boot::{BootInfo, RAM_RANGES, Range as AbiRange};
use std::ops::Range;

/// Checks that all of the image finds RAM that is not ours.
///
/// # Errors
/// A segment does not fit; the error says which, and what would help.
pub fn check(image: &Image<'_>, layout: &Layout) -> Result<(), MemoryError> {
    let reserved = layout.reserved();
    for segment in image.segments() {
        let (lies, seen) = (segment.physical_range(), segment.virtual_range());
        let (start, size) = (lies.start, segment.size);
        for range in [&lies, &seen] {
            if range.start < IMAGE_MIN {
                return Err(MemoryError::ImageInNullPage { start: range.start, size });
            }
        }
        if !layout.ram.iter().any(|ram| ram.start <= lies.start && lies.end <= ram.end) {
            let ram_end = layout.ram.last().map_or(0, |ram| ram.end);
            if ram_end >= HOLE_START && overlap(&lies, &(HOLE_START..HOLE_END)) {
                return Err(MemoryError::ImageInHole { start, size });
            }
            return Err(MemoryError::ImageOutsideRam { start, size, ram_end });
        }
        for range in [&lies, &seen] {
            if overlap(range, &reserved) {
                return Err(MemoryError::ImageInReserved {
                    start: range.start,
                    size,
                    reserved_start: reserved.start,
                    reserved_end: reserved.end,
                });
            }
        }
    }
    Ok(())
}

const fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The arguments as they lie in memory: each ended by a NUL.
///
/// # Errors
/// One has a NUL inside.
pub fn argument_block(arguments: &[String]) -> Result<Vec<u8>, ConfigError> {
    let mut block = Vec::new();
    for argument in arguments {
        if argument.contains('\0') {
            return Err(ConfigError::ArgumentWithNul { argument: argument.clone() });
        }
        block.extend_from_slice(argument.as_bytes());
        block.push(0);
    }
    Ok(block)
}

/// Copies the segments and applies the relocations. What the file does not give (BSS) is zero
/// already: the memory is new.
///
/// # Errors
/// There is no RAM where a segment is to lie; [`check`] tells that beforehand.
pub fn image(memory: &Memory, image: &Image<'_>) -> Result<(), MemoryError> {
    for segment in image.segments() {
        memory.write(segment.gpa, image.bytes_of(segment))?;
    }
    for relocation in image.relocations() {
        memory.write(relocation.gpa, &relocation.value.to_le_bytes())?;
    }
    Ok(())
}

/// What the guest is told.
#[must_use]
pub fn boot_info(image: &Image<'_>, layout: &Layout, arguments: u64) -> BootInfo {
    let abi = |range: &Range<u64>| AbiRange { start: range.start, end: range.end };
    // Not only where segments lie: where they are seen, RAM is not mapped one to one.
    let used: Vec<_> = image
        .segments()
        .iter()
        .flat_map(|segment| [segment.physical_range(), segment.virtual_range()])
        .collect();
    let start = layout.boot.start + BootInfo::SIZE as u64;
    let mut ram = [AbiRange::default(); RAM_RANGES];
    for (to, from) in ram.iter_mut().zip(&layout.ram) {
        *to = abi(from);
    }
    BootInfo {
        flags: 0,
        heap: abi(&layout.heap(&used)),
        console: layout.window(),
        args: AbiRange { start, end: start + arguments },
        ram,
        mailbox: if layout.mailbox.is_empty() { AbiRange::default() } else { abi(&layout.mailbox) },
    }
}

/// Writes the boot block: the boot information, and the arguments behind it.
pub(crate) fn boot_block(
    memory: &Memory,
    layout: &Layout,
    info: &BootInfo,
    arguments: &[u8],
) -> Result<(), MemoryError> {
    memory.write(Gpa(layout.boot.start), &info.to_bytes())?;
    memory.write(Gpa(info.args.start), arguments)
}

/// The segments in words, a line each.
pub(crate) fn describe(image: &Image<'_>) -> String {
    let mut text = format!("{} relocations", image.relocations().len());
    for segment in image.segments() {
        let (gva, gpa, p) = (segment.gva, segment.gpa, segment.permissions);
        let (size, file) = (segment.size, segment.file.len());
        text += &format!("\n{p} {gva}, {size:#x} bytes, {file:#x} of them from the file");
        if gva.0 != gpa.0 {
            text += &format!(", at guest-physical {gpa}");
        }
    }
    text
}
