//! A guest that leaves a value wherever it can, and looks for one there. In assembly.
#![allow(dead_code, reason = "each test file uses its part")]

use crate::code;
use crate::common::calls::note;
use crate::common::elf::{Elf, NOTE, Ph, R, data};
use abi::note::TYPE_SERVES;

abi::hypercalls! {
    /// What the guest answers.
    pub(crate) trait Keeper {
        /// Leaves the value in memory and registers; in those of SSE and x87 if `wide` is 1, which
        /// a ring 0 that is emulated does not have.
        fn leave(&mut self, value: u64, wide: u64);
        /// A bit for each place that is not zero.
        fn look(&mut self, wide: u64) -> u64;
        /// Stores a word, and gives what stood there.
        fn swap(&mut self, value: u64) -> u64;
        /// Runs on for ever.
        fn spin(&mut self);
        /// Raises an exception.
        fn fault(&mut self);
        /// Ends by HLT.
        fn halt(&mut self);
        /// Exits with a code.
        fn exit(&mut self, code: u64);
        /// Reads a byte of input.
        fn input(&mut self) -> u64;
    }
}

/// What `look` gives behind `leave`.
pub(crate) const EVERYWHERE: u64 = (1 << 14) - 1;
pub(crate) const EVERYWHERE_WIDE: u64 = (1 << 31) - 1;

/// The image. RBX is the mailbox and R15 the console window, which are the same for every caller;
/// the heap's place is any that no segment has.
pub(crate) fn image() -> Vec<u8> {
    let code = code!(keeper:
        "mov rbx, [rdi + 96]" "mov r15, [rdi + 40]" "sub rsp, 0x1000"
        "1: xor eax, eax"
        "out 0xf8, eax"
        "movzx ecx, byte ptr [rbx]" "mov rsi, [rbx + 8]" "mov rdi, [rbx + 16]"
        "lea rdx, [rip + 3f]" "movsxd rcx, dword ptr [rdx + 4 * rcx]" "add rdx, rcx" "jmp rdx"
        "3: .long 10f - 3b, 11f - 3b, 12f - 3b, 13f - 3b, 14f - 3b, 15f - 3b, 16f - 3b, 17f - 3b"

        // Data, heap, stack above and below its pointer, console text, mailbox; then registers.
        "10: mov [0x200000], rsi" "mov [0x201ff8], rsi" "mov [0x400000], rsi"
        "mov [rsp + 0x100], rsi" "mov [rsp - 0x100], rsi" "mov [r15 + 64], rsi"
        "mov [rbx + 0x8000], rsi"
        "mov r8, rsi" "mov r9, rsi" "mov r10, rsi" "mov r12, rsi" "mov r13, rsi" "mov r14, rsi"
        "mov rbp, rsi"
        "test edi, edi" "jz 1b"
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15" "movq xmm\\n, rsi" ".endr"
        "fld1" "jmp 1b"

        // CF is set by the comparison where it is zero.
        "11: xor eax, eax" "mov rdi, rsi"
        ".irp place, [0x200000],[0x201ff8],[0x400000],[rsp+0x100],[rsp-0x100],[r15+64],[rbx+0x8000]"
        "mov rdx, \\place" "cmp rdx, 1" "cmc" "adc rax, rax" ".endr"
        ".irp register, r8,r9,r10,r12,r13,r14,rbp"
        "cmp \\register, 1" "cmc" "adc rax, rax" ".endr"
        "test edi, edi" "jz 2f"
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"
        "movq rdx, xmm\\n" "cmp rdx, 1" "cmc" "adc rax, rax" ".endr"
        // Where x87's stack is.
        "mov rcx, rax" "fnstsw ax" "and eax, 0x3800" "cmp eax, 1" "cmc" "adc rcx, rcx"
        "mov rax, rcx"
        "2: mov [rbx + 8], rax" "jmp 1b"

        "12: xchg rsi, [0x200000]" "mov [rbx + 8], rsi" "jmp 1b"
        "13: jmp 13b"
        "14: ud2"
        "15: hlt" "jmp 15b"
        "16: mov eax, esi" "out 0xf4, eax"
        "17: in eax, 0xea" "mov [rbx + 8], rax" "jmp 1b"
    );
    let descriptor = abi::calls::note::bytes::<{ abi::calls::note::size(&INTERFACE) }>(&INTERFACE);
    let notes = note(TYPE_SERVES, &descriptor);
    let size = notes.len() as u64;
    let note = Ph { kind: NOTE, flags: R, memsz: size, align: 4, ..data(0, size) };
    Elf::new(code).with(data(0x20_0000, 0x2000), &[0; 0x2000]).with(note, &notes).bytes()
}
