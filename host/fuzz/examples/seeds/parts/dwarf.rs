//! Debug information as compilers write it, of a guest of some lines.

use super::Seed;
use fuzz_targets::dwarf::{CODE, SECTIONS, STACK};
use portcall::sections::Sections;
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// A function that is inlined into another, and one that is called.
const C: &str = "\
static inline int inner(int a) { return a * 3 + *(volatile int *)0x8000; }
__attribute__((noinline)) int outer(int a) { return inner(a) + inner(a + 1); }
void _start(void) { outer(7); for (;;) __asm__ volatile(\"hlt\"); }
";

/// The same.
const RUST: &str = "\
#![no_std]
#![no_main]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
#[inline(always)]
fn inner(a: u64) -> u64 { a * 3 + unsafe { core::ptr::read_volatile(0x8000 as *const u64) } }
mod deep {
    #[inline(never)]
    pub(crate) fn outer(a: u64) -> u64 { super::inner(a) ^ super::inner(a + 1) }
}
#[unsafe(no_mangle)]
extern \"C\" fn _start() -> ! { loop { deep::outer(7); } }
";

/// Runs a compiler.
fn compiled(
    directory: &Path,
    source: (&str, &str),
    command: &[&str],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let (name, text) = source;
    std::fs::write(directory.join(name), text)?;
    let (program, arguments) = command.split_first().ok_or("no compiler")?;
    // The same in every run, wherever that is.
    let prefix = if *program == "cc" { "-ffile-prefix-map" } else { "--remap-path-prefix" };
    let status = Command::new(program)
        .args(arguments)
        .arg(format!("{prefix}={}=/guest", directory.display()))
        .args(["-o", "out", name])
        .current_dir(directory)
        .status()?;
    if !status.success() {
        return Err(format!("{command:?} failed").into());
    }
    Ok(std::fs::read(directory.join("out"))?)
}

/// Registers and a stack: two frames, led to by RBP.
fn head(form: u8) -> Vec<u8> {
    let top = 2 * CODE - STACK as u64;
    let mut head = vec![form];
    for half in [8_u16, 0, 16] {
        head.extend(half.to_le_bytes());
    }
    let mut stack = [0_u64; STACK / 8];
    (stack[2], stack[3]) = (top + 64, CODE + 0x20);
    (stack[8], stack[9]) = (0, 0);
    head.extend(stack.iter().flat_map(|word| word.to_le_bytes()));
    head
}

/// The sections of a file in the target's own form.
fn as_sections(file: &[u8]) -> Vec<u8> {
    let mut seed = head(1);
    let sections = Sections::parse(file);
    for (number, (name, _)) in (0_u8..).zip(SECTIONS) {
        let Some(bytes) = sections.bytes(name).filter(|bytes| !bytes.is_empty()) else { continue };
        let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        seed.push(number);
        seed.extend(size.to_le_bytes());
        seed.extend(&bytes[..usize::from(size)]);
    }
    seed
}

pub(crate) fn seeds() -> Result<Vec<Seed>, Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("portcall-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let plain = ["cc", "-static", "-nostdlib", "-ffreestanding", "-Wl,-Ttext=0x100000"];
    let mut seeds = Vec::new();
    for (name, more) in [
        ("c-dwarf-5", &["-O2", "-gdwarf-5"][..]),
        ("c-dwarf-4", &["-O1", "-gdwarf-4", "-fno-omit-frame-pointer"]),
        ("c-dwarf-2", &["-O2", "-gdwarf-2", "-gstrict-dwarf"]),
        ("c-split", &["-O2", "-g", "-ffunction-sections", "-fno-asynchronous-unwind-tables"]),
    ] {
        let file = compiled(&directory, ("guest.c", C), &[&plain[..], more].concat())?;
        seeds.push((name.to_owned(), as_sections(&file)));
        if name == "c-dwarf-5" {
            seeds.push(("c-as-it-is".to_owned(), [head(0), file].concat()));
        }
    }
    let rustc = ["rustc", "--edition=2024", "--target=x86_64-unknown-none", "-Cpanic=abort"];
    let plain =
        [&rustc[..], &["-Crelocation-model=static", "-Clink-arg=--image-base=0x100000"]].concat();
    for (name, more) in [
        ("rust", &["-g", "-Copt-level=s"][..]),
        ("rust-lines", &["-Cdebuginfo=line-tables-only", "-Copt-level=3"]),
        ("rust-dwarf-5", &["-g", "-Copt-level=1", "-Cforce-frame-pointers=yes"]),
    ] {
        let file = compiled(&directory, ("guest.rs", RUST), &[&plain[..], more].concat())?;
        seeds.push((name.to_owned(), as_sections(&file)));
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(seeds)
}
