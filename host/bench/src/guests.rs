//! Guest programs in machine code, the same bytes for both sides of a row.

/// The port by which a guest waits for its next round.
pub(crate) const ROUND: u16 = 0x300;

/// What a call's argument is.
pub(crate) const ARGUMENT: u64 = 3;

/// Where the smallest image lies.
const BASE: u64 = 1 << 20;

/// xor eax, eax; out 0xf4, al
pub(crate) fn minimal() -> Vec<u8> {
    vec![0x31, 0xc0, 0xe6, 0xf4]
}

/// The same as an ELF file: a header, a program header, the code (System V ABI, "Object Files").
pub(crate) fn minimal_elf() -> Vec<u8> {
    let code = minimal();
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes()); // ET_EXEC, EM_X86_64
    }
    file.extend(1_u32.to_le_bytes());
    for word in [BASE + 0x1000, 64, 0] {
        file.extend(word.to_le_bytes()); // entry, program headers, no section headers
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for word in [1_u32, 5] {
        file.extend(word.to_le_bytes()); // PT_LOAD, read and execute
    }
    let size = code.len() as u64;
    for word in [0x1000, BASE + 0x1000, BASE + 0x1000, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.resize(0x1000, 0);
    file.extend(code);
    file
}

/// Waits for a round, makes `calls` calls of that number, and so on:
///
/// ```text
/// 1: mov edx, ROUND; out dx, al; mov ebx, calls
/// 2: mov edi, ARGUMENT; mov eax, number; out 0xf7, eax; dec ebx; jnz 2b; jmp 1b
/// ```
pub(crate) fn caller(number: u32, calls: u32) -> Vec<u8> {
    let mut code = round();
    code.push(0xbb);
    code.extend(calls.to_le_bytes());
    code.extend([0xbf, 3, 0, 0, 0, 0xb8]);
    code.extend(number.to_le_bytes());
    code.extend([0xe7, 0xf7, 0xff, 0xcb, 0x75, 0xf0, 0xeb, 0xe3]);
    code
}

/// Writes to so many pages, one after the other, and exits:
///
/// ```text
/// mov ecx, pages; mov ebx, 4 MiB
/// 1: inc qword [rbx]; add rbx, 4096; dec ecx; jnz 1b
/// xor eax, eax; out 0xf4, al
/// ```
pub(crate) fn toucher(pages: u32) -> Vec<u8> {
    let mut code = vec![0xb9];
    code.extend(pages.to_le_bytes());
    code.extend([0xbb, 0, 0, 0x40, 0, 0x48, 0xff, 0x03, 0x48, 0x81, 0xc3, 0, 0x10, 0, 0]);
    code.extend([0xff, 0xc9, 0x75, 0xf2]);
    code.extend(minimal());
    code
}

/// Waits for a round, makes `calls` calls of that number with the `size` bytes at `address`, and so
/// on:
///
/// ```text
/// 1: mov edx, ROUND; out dx, al; mov ebx, calls
/// 2: mov edi, address; mov esi, size; mov eax, number; out 0xf7, eax; dec ebx; jnz 2b; jmp 1b
/// ```
pub(crate) fn giver(number: u32, calls: u32, address: u64, size: u32) -> Vec<u8> {
    let mut code = round();
    code.push(0xbb);
    code.extend(calls.to_le_bytes());
    code.push(0xbf);
    code.extend(&address.to_le_bytes()[..4]);
    code.push(0xbe);
    code.extend(size.to_le_bytes());
    code.push(0xb8);
    code.extend(number.to_le_bytes());
    code.extend([0xe7, 0xf7, 0xff, 0xcb, 0x75, 0xeb, 0xeb, 0xde]);
    code
}

/// Waits for a round, then prints `bytes` bytes, an exit each, and so on:
///
/// ```text
/// 1: mov edx, ROUND; out dx, al; mov ebx, bytes; mov eax, 'x'
/// 2: out 0xe9, al; dec ebx; jnz 2b; jmp 1b
/// ```
pub(crate) fn printer(bytes: u32) -> Vec<u8> {
    let mut code = round();
    code.push(0xbb);
    code.extend(bytes.to_le_bytes());
    code.extend([0xb8, b'x', 0, 0, 0, 0xe6, 0xe9, 0xff, 0xcb, 0x75, 0xfa, 0xeb, 0xe8]);
    code
}

/// Writes to so many pages, waits for a round, and so on:
///
/// ```text
/// 1: mov edi, 2 MiB; mov ecx, pages
/// 2: mov [rdi], edi; add edi, 4096; dec ecx; jnz 2b; mov edx, ROUND; out dx, al; jmp 1b
/// ```
pub(crate) fn toucher_in_rounds(pages: u32) -> Vec<u8> {
    let mut code = vec![0xbf, 0, 0, 0x20, 0, 0xb9];
    code.extend(pages.to_le_bytes());
    code.extend([0x89, 0x3f, 0x81, 0xc7, 0, 0x10, 0, 0, 0xff, 0xc9, 0x75, 0xf4]);
    code.extend(round());
    code.extend([0xeb, 0xe2]);
    code
}

fn round() -> Vec<u8> {
    let mut code = vec![0xba];
    code.extend(u32::from(ROUND).to_le_bytes());
    code.push(0xee);
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcall::{End, Image, Kvm, Vm};

    #[test]
    fn the_smallest_image_loads_and_ends_with_code_0() {
        let file = minimal_elf();
        let image = Image::parse(&file).expect("an image");
        let kvm = Kvm::open().expect("KVM");
        let outcome = Vm::builder(&kvm, &image).build().expect("builds").run().expect("runs");
        assert_eq!(outcome.end, End::Exited(0));
    }
}
