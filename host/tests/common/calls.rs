//! A guest that makes one call, with whatever words it is given.

use super::elf::{Elf, NOTE, Ph, R, data};
use crate::code;
use portcall::{Image, Kvm, Outcome, Ring, Service, Vm};

/// Where the guest's data is: the number and the twelve words, and behind them room for buffers.
pub(crate) const TABLE: u64 = 0x20_0000;

/// Room for buffers.
pub(crate) const ROOM: u64 = TABLE + 0x1000;

/// An image that makes the call of its table, and halts, again and again; with these notes.
pub(crate) fn image(notes: &[u8]) -> Vec<u8> {
    let code = code!(one_call:
        "2: mov rbx, 0x200000"
        "mov rax, [rbx]" "mov rdi, [rbx + 8]" "mov rsi, [rbx + 16]" "mov rdx, [rbx + 24]"
        "mov rcx, [rbx + 32]" "mov r8, [rbx + 40]" "mov r9, [rbx + 48]" "mov r10, [rbx + 56]"
        "mov r11, [rbx + 64]" "mov r12, [rbx + 72]" "mov r13, [rbx + 80]" "mov r14, [rbx + 88]"
        "mov r15, [rbx + 96]"
        "out 0xf7, eax" "hlt" "jmp 2b"
    );
    let size = notes.len() as u64;
    let note = Ph { kind: NOTE, flags: R, memsz: size, align: 4, ..data(0, size) };
    let elf = Elf::new(code).with(data(TABLE, 0x2000), &[0; 0x2000]);
    if notes.is_empty() { elf.bytes() } else { elf.with(note, notes).bytes() }
}

/// An ELF note of the contract.
pub(crate) fn note(kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    let size = u32::try_from(descriptor.len()).expect("small");
    for word in [9, size, kind] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(b"Portcall\0\0\0\0");
    note.extend_from_slice(descriptor);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// A VM for one call.
pub(crate) fn vm(kvm: &Kvm, ring: Ring, memory: u64, service: impl Service + 'static) -> Vm {
    let file = image(&[]);
    let image = Image::parse(&file).expect("an image");
    Vm::builder(kvm, &image).ring(ring).memory(memory).serve(service).build().expect("builds")
}

/// Puts number and words into the table.
pub(crate) fn set(vm: &Vm, number: u32, words: &[u64]) {
    let words = [u64::from(number)].into_iter().chain(words.iter().copied());
    for (word, at) in words.zip((TABLE..).step_by(8)) {
        vm.memory().write(portcall::Gpa(at), &word.to_le_bytes()).expect("the table");
    }
}

/// Makes the call, and says how it went.
pub(crate) fn call(vm: &mut Vm, number: u32, words: &[u64]) -> Outcome {
    set(vm, number, words);
    vm.run().expect("runs")
}
