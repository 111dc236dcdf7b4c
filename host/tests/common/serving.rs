//! A guest that answers its host's calls, in assembly, and well or badly as it is asked.

use crate::code;
use crate::common::calls::{TABLE, note};
use crate::common::elf::{Elf, NOTE, Ph, R, data};
use abi::note::TYPE_SERVES;

abi::hypercalls! {
    /// What the guest answers.
    pub(crate) trait Served {
        fn add_up(&mut self, value: u64) -> u64;
        fn spin(&mut self);
        fn fault(&mut self);
        fn panic(&mut self);
        fn exit(&mut self, code: u32);
        fn halt(&mut self);
        fn refuse(&mut self, code: u32);
        fn slow(&mut self) -> u64;
        fn text(&mut self, address: u64, size: u64) -> &str;
        fn option(&mut self, tag: u64, value: u64) -> Option<bool>;
        fn length(&mut self, bytes: &[u8]) -> u64;
        fn fill(&mut self, first: &mut [u8], second: &mut [u8]);
        fn serve_inside(&mut self) -> u64;
        fn rewrite(&mut self);
        fn call_host(&mut self, a: u64) -> u64;
        fn print(&mut self, byte: u8);
        fn unknown(&mut self) -> u64;
    }
}

pub(crate) mod host {
    abi::hypercalls! {
        /// What the host answers while the guest does.
        pub(crate) trait Host {
            fn double(&mut self, value: u64) -> u64;
        }
    }
}

/// The guest. RBX is the mailbox, R12 the state; a function jumps to 1 with what it writes to the
/// serve port in EAX, its result being in the mailbox.
pub(crate) fn guest() -> Vec<u8> {
    let code = code!(serving:
        "mov rbx, [rdi + 96]" "xor r12d, r12d"
        "mov eax, [0x200000]" "test eax, eax" "jz 1f" "out 0xf4, eax"
        "1: xor eax, eax"
        "2: out 0xf8, eax"
        "movzx ecx, byte ptr [rbx]" "mov rsi, [rbx + 8]" "mov rdi, [rbx + 16]"
        "lea rdx, [rip + 3f]" "movsxd rcx, dword ptr [rdx + 4 * rcx]" "add rdx, rcx" "jmp rdx"
        "3: .long 10f - 3b, 11f - 3b, 12f - 3b, 13f - 3b, 14f - 3b, 15f - 3b, 16f - 3b, 17f - 3b"
        ".long 18f - 3b, 19f - 3b, 20f - 3b, 21f - 3b, 22f - 3b, 23f - 3b, 24f - 3b, 25f - 3b"
        ".long 26f - 3b"
        "10: add r12, rsi" "mov [rbx + 8], r12" "jmp 1b"
        "11: jmp 11b"
        "12: ud2"
        "13: xor esi, esi" "xor edx, edx" "out 0xf5, al"
        "14: mov eax, esi" "out 0xf4, eax"
        "15: hlt" "jmp 15b"
        "16: mov eax, esi" "jmp 2b"
        "17: mov edx, 0x300" "out dx, al" "mov qword ptr [rbx + 8], 7" "jmp 1b"
        // The words are already where the results belong.
        "18: jmp 1b"
        "19: jmp 1b"
        "20: mov [rbx + 8], rdi" "jmp 1b"
        // Both are filled, with what the others' lengths are.
        "21: mov r8, [rbx + 24]" "mov r9, [rbx + 32]" "mov ecx, edi" "mov eax, r9d"
        "lea rdi, [rbx + rsi]" "rep stosb" "mov ecx, r9d" "mov eax, [rbx + 16]"
        "lea rdi, [rbx + r8]" "rep stosb" "jmp 1b"
        // Another round of waiting in the middle of an answer.
        "22: mov qword ptr [rbx + 8], 1" "xor eax, eax" "out 0xf8, eax"
        "mov qword ptr [rbx + 8], 2" "jmp 1b"
        "23: mov rdi, rbx" "mov ecx, 8192" "mov rax, -1" "rep stosq" "jmp 1b"
        "24: mov rdi, rsi" "mov eax, [0x200008]" "out 0xf7, eax" "mov [rbx + 8], rax" "jmp 1b"
        "25: mov eax, esi" "out 0xe9, al" "jmp 1b"
        "26: mov eax, 2" "jmp 2b"
    );
    elf(code, &note(TYPE_SERVES, &descriptor()))
}

/// The interface as a note has it.
pub(crate) fn descriptor() -> Vec<u8> {
    abi::calls::note::bytes::<{ abi::calls::note::size(&INTERFACE) }>(&INTERFACE).to_vec()
}

/// An image with these notes; its table has what main exits with, if it is not 0, and the number
/// of the host's call.
pub(crate) fn elf(code: &[u8], notes: &[u8]) -> Vec<u8> {
    let table = [0, u64::from(host::INTERFACE.number(0))].map(u64::to_le_bytes).concat();
    let size = notes.len() as u64;
    let note = Ph { kind: NOTE, flags: R, memsz: size, align: 4, ..data(0, size) };
    let elf = Elf::new(code).with(data(TABLE, 0x2000), &[&table[..], &[0; 0x1ff0]].concat());
    if notes.is_empty() { elf.bytes() } else { elf.with(note, notes).bytes() }
}
