//! naive.c, the floor of the rows that look at whole programs: it has to run what `portcall run`
//! does.

use std::path::Path;
use std::process::Command;

/// An ELF file of one segment at 2 MiB with the code at its start.
fn image(code: &[u8]) -> Vec<u8> {
    let words: [u64; 15] = [
        u64::from_le_bytes(*b"\x7fELF\x02\x01\x01\0"), // 64 bits, little endian, version 1
        0,
        0x0000_0001_003e_0002, // ET_EXEC, EM_X86_64, version 1
        0x20_0000,             // entry
        64,                    // program headers
        0,
        0x0038_0040_0000_0000, // flags; sizes of the header and a program header
        0x0000_0000_0040_0001, // one program header
        0x0000_0005_0000_0001, // PT_LOAD, readable and executable
        0x1000,
        0x20_0000,
        0x20_0000,
        code.len() as u64,
        code.len() as u64,
        0x1000,
    ];
    let mut file: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    file.resize(0x1000, 0);
    file.extend(code);
    file
}

#[test]
fn the_c_program_runs_a_guest_to_its_end() {
    let folder = tempfile::tempdir().expect("a directory");
    let (binary, guest) = (folder.path().join("naive"), folder.path().join("guest"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("naive.c");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&binary).arg(source);
    assert!(cc.status().expect("a C compiler").success());

    // mov al, 'k'; out 0xe9, al; mov al, 7; out 0xf4, al
    let code = [0xb0, b'k', 0xe6, 0xe9, 0xb0, 7, 0xe6, 0xf4];
    std::fs::write(&guest, image(&code)).expect("written");
    let output = Command::new(&binary).arg(&guest).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(output.stdout, b"k");
    assert!(said.starts_with("exited with code 7 at 0x20000"), "{said}");

    // hlt is no end for it.
    std::fs::write(&guest, image(&[0xf4])).expect("written");
    let output = Command::new(&binary).arg(&guest).output().expect("starts");
    assert_eq!(output.status.code(), Some(125));
}
