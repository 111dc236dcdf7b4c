//! Where basic blocks begin, and the constants that code compares with: by disassembly of the
//! functions that have symbols.
//!
//! A block begins at a function's start, where a branch leads, and behind a branch. What stands
//! behind a jump that always goes is counted as well: tables of jumps lead there, which nothing
//! here reads. A breakpoint where no block begins would do no harm, as long as an instruction does.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};
use portcall::Image;
use portcall::sections::Sections;
use std::collections::BTreeSet;

/// The most blocks that are looked at; the rest is left out.
const MAX_BLOCKS: usize = 1 << 18;

/// The most constants, and of these the most that mutations are given.
const MAX_WORDS: usize = 512;

/// What is known of an image's code.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Where blocks begin, by guest-virtual address.
    pub(crate) starts: BTreeSet<u64>,
    /// Constants that values are compared with, as they stand in memory.
    pub(crate) words: BTreeSet<Vec<u8>>,
}

impl Blocks {
    /// Those of an image; `elf` is the whole file that it was read from.
    pub(crate) fn of(image: &Image<'_>, elf: &[u8]) -> Self {
        let sections = Sections::parse(elf);
        let mut functions: Vec<(u64, u64)> = sections
            .symbols()
            .filter(|(_, it)| it.is_function() && it.st_size > 0)
            .map(|(_, it)| (it.st_value.wrapping_add(image.bias()), it.st_size))
            .collect();
        functions.sort_unstable();
        let mut blocks = Self::default();
        // Several names of one place, and functions within others, are read once.
        let mut done = 0;
        for (start, size) in functions {
            if start >= done && blocks.starts.len() < MAX_BLOCKS {
                done = start.saturating_add(size);
                blocks.function(start, bytes(image, start, size));
            }
        }
        blocks
    }

    /// Reads a function.
    fn function(&mut self, start: u64, code: &[u8]) {
        let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
        let (mut begins, mut leaders) = (BTreeSet::new(), BTreeSet::from([start]));
        while decoder.can_decode() {
            let instruction = decoder.decode();
            // What comes behind is data, or not in step with the code.
            if instruction.is_invalid() {
                break;
            }
            if instruction.code() != Code::Int3 {
                begins.insert(instruction.ip());
            }
            match instruction.flow_control() {
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {}
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    leaders.insert(instruction.near_branch_target());
                    leaders.insert(instruction.next_ip());
                }
                _ => _ = leaders.insert(instruction.next_ip()),
            }
            self.word(&instruction);
        }
        self.starts.extend(leaders.intersection(&begins));
    }

    /// Keeps what an instruction compares with.
    fn word(&mut self, instruction: &Instruction) {
        use OpKind::{Immediate16, Immediate32, Immediate32to64, Immediate64};
        let is_compared = matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Xor);
        // One of 64 bits is in a register first.
        let is_moved = instruction.code() == Code::Mov_r64_imm64;
        if !(is_compared || is_moved) || instruction.op_count() < 2 {
            return;
        }
        let Ok(value) = instruction.try_immediate(1) else { return };
        let size = match instruction.op1_kind() {
            Immediate16 => 2,
            Immediate32 => 4,
            Immediate64 => 8,
            Immediate32to64 => 4,
            _ => return,
        };
        if self.words.len() < MAX_WORDS && (0x100..=u64::MAX - 0x100).contains(&value) {
            self.words.insert(value.to_le_bytes()[..size].to_vec());
        }
    }
}

/// The bytes of an executable segment from an address on, as far as they go.
fn bytes<'a>(image: &Image<'a>, start: u64, size: u64) -> &'a [u8] {
    let mut segments = image.segments().iter().filter(|it| it.permissions.execute);
    let Some(segment) = segments.find(|it| it.virtual_range().contains(&start)) else {
        return &[];
    };
    let into = usize::try_from(start - segment.gva.0).unwrap_or(usize::MAX);
    let rest = image.bytes_of(segment).get(into..).unwrap_or(&[]);
    &rest[..usize::try_from(size).unwrap_or(usize::MAX).min(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::Blocks;

    #[test]
    fn blocks_begin_where_branches_lead_and_behind_them() {
        // 0: cmp eax, 0x54524f50; 5: je 0xa; 7: xor eax, eax; 9: ret; a: call 0xf; f: int3, where none is set; 10: ret
        let code = [
            0x3d, b'P', b'O', b'R', b'T', 0x74, 0x03, 0x31, 0xc0, 0xc3, 0xe8, 0, 0, 0, 0, 0xcc,
            0xc3,
        ];
        let mut blocks = Blocks::default();
        blocks.function(0x1000, &code);
        assert_eq!(blocks.starts, [0x1000, 0x1007, 0x100a, 0x1010].into());
        assert_eq!(blocks.words, [b"PORT".to_vec()].into());
    }

    #[test]
    fn what_is_no_code_ends_a_function() {
        // jmp 0x1003; 0x06 is no instruction in long mode.
        let mut blocks = Blocks::default();
        blocks.function(0x1000, &[0xeb, 0x01, 0x06, 0x90, 0xc3]);
        assert_eq!(blocks.starts, [0x1000].into());
    }
}
