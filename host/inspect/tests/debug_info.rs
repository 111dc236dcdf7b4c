//! Names and lines from an image's symbols and DWARF, good, missing and broken. The guest is in
//! C, so these tests need a C compiler.

#![expect(clippy::panic, reason = "that is how a test fails")]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::kvm;
use inspect::{DebugInfo, Explanation, KvmKind, Style, Symbols, WalkEnd, explain};
use portcall::{End, Image, Ring, Vm};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// `outer` calls `middle`, which has `inner` inlined, which divides by what it was given.
const SOURCE: &str = "\
volatile int divisor, result;

static inline __attribute__((always_inline)) int inner(int value) {
    return value / divisor;
}

__attribute__((noinline)) int middle(int value) {
    return inner(value + 1) + 1;
}

__attribute__((noinline)) int outer(int value) {
    return middle(value * 2) + 1;
}

void _start(void) {
    result = outer(20);
    for (;;) __asm__ volatile(\"hlt\");
}
";

/// The guest, built with these options besides.
fn build(folder: &TempDir, options: &[&str]) -> PathBuf {
    let (source, image) = (folder.path().join("guest.c"), folder.path().join("guest"));
    std::fs::write(&source, SOURCE).expect("written");
    let built = Command::new("cc")
        .args(["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-mno-red-zone"])
        .args(["-mgeneral-regs-only", "-O1"])
        .args(options)
        .arg("-o")
        .arg(&image)
        .arg(&source)
        .status();
    match built {
        Ok(status) if status.success() => image,
        other => panic!("this test needs a C compiler (apt-get install gcc libc6-dev): {other:?}"),
    }
}

fn died(image: &Path, ring: Ring) -> Explanation {
    let bytes = std::fs::read(image).expect("read");
    let image = Image::parse(&bytes).expect("right");
    let mut vm = Vm::builder(&kvm(), &image).ring(ring).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert!(matches!(outcome.end, End::Exception(_)), "{}", outcome.end);
    explain(&vm, &image, &outcome, &bytes, KvmKind::Unknown).expect("explains")
}

fn functions(explanation: &Explanation) -> Vec<(&str, bool)> {
    let frames = explanation.backtrace.iter();
    frames.map(|frame| (frame.function.as_deref().unwrap_or("?"), frame.inlined)).collect()
}

const CHAIN: [(&str, bool); 4] =
    [("inner", true), ("middle", false), ("outer", false), ("_start", false)];

#[test]
fn a_c_guest_has_its_backtrace_by_frame_pointers_and_by_debug_frame() {
    let folder = TempDir::new().expect("a folder");
    // By frame pointers, by .eh_frame as C compilers make it, and by .debug_frame.
    for options in [
        &["-g", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"][..],
        &["-g", "-fomit-frame-pointer"],
        &["-g", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables"],
    ] {
        for ring in [Ring::Zero, Ring::Three] {
            let said = died(&build(&folder, options), ring);
            assert_eq!(functions(&said), CHAIN, "{options:?} {ring:?}");
            let place = said.place.as_ref().expect("a place");
            assert_eq!(
                (place.line, said.line.as_deref()),
                (4, Some("    return value / divisor;"))
            );
            let text = said.render(Style { colour: false });
            assert!(text.contains("guest.c:4"), "{text}");
            assert!(text.contains(" 4 |     return value / divisor;"), "{text}");
        }
    }
}

#[test]
fn symbols_without_lines_and_neither_are_said_plainly() {
    let folder = TempDir::new().expect("a folder");
    let said = died(&build(&folder, &["-g0", "-fno-omit-frame-pointer"]), Ring::Zero);
    assert!(matches!(said.debug_info, DebugInfo::Symbols(_)), "{:?}", said.debug_info);
    let names: Vec<&str> = functions(&said).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[0], "middle");
    assert_eq!(names.last(), Some(&"_start"));
    assert!(said.render(Style::default()).contains("no debug information; build it with -g"));

    let said = died(&build(&folder, &["-s"]), Ring::Zero);
    assert!(matches!(said.debug_info, DebugInfo::Nothing(_)), "{:?}", said.debug_info);
    assert!(said.render(Style::default()).contains("   0: 0x"));
}

/// What a hostile image may make of the lookups: nothing worse than no answer.
fn look_up(bytes: &[u8], addresses: &[u64]) {
    let symbols = Symbols::new(bytes, 0);
    for address in addresses {
        let frames = symbols.frames(*address, true);
        assert!(frames.len() <= 33);
        let _ = (symbols.section_at(*address), symbols.symbol_at(*address));
    }
}

#[test]
fn broken_debug_information_neither_panics_nor_hangs() {
    let folder = TempDir::new().expect("a folder");
    let image = build(&folder, &["-g", "-fno-omit-frame-pointer"]);
    let good = std::fs::read(&image).expect("read");
    let said = died(&image, Ring::Zero);
    let addresses: Vec<u64> = said.backtrace.iter().map(|frame| frame.address).collect();
    look_up(&good, &addresses);
    // A plain linear congruence: the same damage in every run.
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let start = std::time::Instant::now();
    for _ in 0..3000 {
        let mut bytes = good.clone();
        for _ in 0..=random(12) {
            let at = 64 + random(bytes.len() - 64);
            bytes[at] = [0, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)][random(6)];
        }
        bytes.truncate(bytes.len() - random(8) * random(400));
        look_up(&bytes, &addresses);
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn a_walk_that_leads_nowhere_says_so() {
    let folder = TempDir::new().expect("a folder");
    let options = ["-g0", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables"];
    let said = died(&build(&folder, &options), Ring::Zero);
    assert_eq!(functions(&said).len(), 1);
    assert_eq!(said.backtrace_end, WalkEnd::Lost);
    let text = said.render(Style { colour: false });
    assert!(text.contains("nothing that leads further"), "{text}");
}

/// Debug information in assembly: one unit, whose functions nest this deep.
fn nested(depth: usize, file: &str) -> String {
    let entry = |abbreviation: u8| format!(".uleb128 {abbreviation}\n");
    let children = (0..depth).map(|_| entry(2) + ".long 0\n.quad _start\n.quad 1f\n");
    let children: String = children.collect();
    let ends = ".byte 0\n".repeat(depth);
    format!(
        ".file 1 \"{file}\"\n.text\n.globl _start\n_start:\n.loc 1 1 1\nud2\n1:\n\
         .section .debug_abbrev\n\
         .uleb128 1\n.uleb128 0x11\n.byte 1\n.uleb128 0x10\n.uleb128 0x17\n\
         .uleb128 0x11\n.uleb128 1\n.uleb128 0x12\n.uleb128 1\n.byte 0,0\n\
         .uleb128 2\n.uleb128 0x1d\n.byte 1\n.uleb128 0x31\n.uleb128 0x13\n\
         .uleb128 0x11\n.uleb128 1\n.uleb128 0x12\n.uleb128 1\n.byte 0,0\n\
         .uleb128 3\n.uleb128 0x2e\n.byte 1\n.uleb128 0x11\n.uleb128 1\n\
         .uleb128 0x12\n.uleb128 1\n.byte 0,0\n.byte 0\n\
         .section .debug_info\n.long 3f - 2f\n2: .value 4\n.long .debug_abbrev\n.byte 8\n\
         .uleb128 1\n.long .debug_line\n.quad _start\n.quad 1b\n\
         .uleb128 3\n.quad _start\n.quad 1b\n{}{ends}.byte 0,0\n3:\n.section .debug_line\n",
        children.replace("1f", "1b")
    )
}

#[test]
fn debug_information_that_asks_for_too_much_is_refused() {
    let folder = TempDir::new().expect("a folder");
    for (depth, refused) in [(20, false), (20_000, true)] {
        let (source, image) = (folder.path().join("n.S"), folder.path().join("n"));
        std::fs::write(&source, nested(depth, "a.c")).expect("written");
        let built = Command::new("cc")
            .args(["-static", "-nostdlib", "-o"])
            .args([&image, &source])
            .status()
            .expect("this test needs a C compiler (apt-get install gcc)");
        assert!(built.success());
        let said = died(&image, Ring::Zero);
        match &said.debug_info {
            DebugInfo::Symbols(why) => assert!(refused && why.contains("more work"), "{why}"),
            other => assert!(!refused, "{depth}: {other:?}"),
        }
    }
}

/// Many units, each of which begins one declaration further into one long table of abbreviations.
fn overlapping(units: usize, declarations: usize) -> String {
    let table: String = (1..=declarations)
        .map(|code| format!(".uleb128 {code}\n.uleb128 0x34\n.byte 0,0,0\n"))
        .collect();
    let units: String = (0..units)
        .map(|i| {
            format!(
                ".long 7f - 6f\n6: .value 4\n.long 5f + {}\n.byte 8\n.byte 0\n7:\n",
                5 * i % 600
            )
            .replace("5f", "table")
        })
        .collect();
    format!(
        ".file 1 \"a.c\"\n.text\n.globl _start\n_start:\n.loc 1 1 1\nud2\n\
         .section .debug_abbrev\ntable:\n{table}.byte 0\n.section .debug_info\n{units}\
         .section .debug_line\n"
    )
}

#[test]
fn units_that_parse_one_table_again_and_again_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let (source, image) = (folder.path().join("u.S"), folder.path().join("u"));
    std::fs::write(&source, overlapping(3000, 40_000)).expect("written");
    let mut cc = Command::new("cc");
    let built = cc.args(["-static", "-nostdlib", "-o"]).args([&image, &source]).status();
    assert!(built.expect("this test needs a C compiler (apt-get install gcc)").success());
    let start = std::time::Instant::now();
    let bytes = std::fs::read(&image).expect("read");
    let symbols = Symbols::new(&bytes, 0);
    assert!(matches!(symbols.debug_info(), DebugInfo::Symbols(why) if why.contains("more work")));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// Units that all have the one line program, of so many files in a folder with so long a name.
fn sharing(units: usize, files: usize, folder: usize, rows: usize) -> String {
    let units: String = (0..units)
        .map(|_| ".long 7f - 6f\n6: .value 4\n.long table\n.byte 8\n.uleb128 1\n.long 0\n.quad 0\n7:\n")
        .collect();
    let files: String = (0..files).map(|_| ".asciz \"f\"\n.byte 1,0,0\n").collect();
    format!(
        ".text\n.globl _start\n_start: ud2\n\
         .section .debug_abbrev\ntable: .uleb128 1\n.uleb128 0x11\n.byte 0\n\
         .uleb128 0x10\n.uleb128 0x17\n.uleb128 0x11\n.uleb128 1\n.byte 0,0,0\n\
         .section .debug_info\n{units}\
         .section .debug_line\n.long 9f - 8f\n8: .value 4\n.long 5f - 4f\n\
         4: .byte 1,1,1,-5,14,13,0,1,1,1,1,0,0,0,1,0,0,1\n\
         .fill {folder},1,0x61\n.byte 0,0\n{files}.byte 0\n5: .fill {rows},1,0x20\n9:\n"
    )
}

#[test]
fn a_line_program_that_all_units_have_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let built = |units, files, length, rows| {
        let (source, image) = (folder.path().join("s.S"), folder.path().join("s"));
        std::fs::write(&source, sharing(units, files, length, rows)).expect("written");
        let mut cc = Command::new("cc");
        let built = cc.args(["-static", "-nostdlib", "-o"]).args([&image, &source]).status();
        assert!(built.expect("this test needs a C compiler (apt-get install gcc)").success());
        std::fs::read(&image).expect("read")
    };
    let few = built(4, 10, 100, 1000);
    assert_eq!(*Symbols::new(&few, 0).debug_info(), DebugInfo::Lines);
    // In 100 KB: 40 million rows, six million files, and 3 GB of paths.
    for (units, files, length, rows) in
        [(2000, 1, 10, 20_000), (2000, 3000, 10, 1), (500, 300, 20_000, 1)]
    {
        let many = built(units, files, length, rows);
        assert!(many.len() < 120_000, "{}", many.len());
        let symbols = Symbols::new(&many, 0);
        let info = symbols.debug_info();
        assert!(matches!(info, DebugInfo::Symbols(why) if why.contains("more work")), "{info:?}");
    }
}

#[test]
fn an_address_that_no_code_can_have_and_names_that_no_one_reads_are_nothing_special() {
    let folder = TempDir::new().expect("a folder");
    // Rust's v0 names lead back to what they have named, by its place: each pair here is of the one
    // before it, so that the last stands for 2^20 of the first.
    let mut doubling = "INvC1a1bh".to_owned();
    let mut last = doubling.len() - 1;
    for _ in 0..20 {
        let (digits, place) =
            (b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", last - 1);
        let digit = |number: usize| char::from(digits[number]);
        let high = if place < 62 { String::new() } else { digit(place / 62).to_string() };
        let back = format!("B{high}{}_", digit(place % 62));
        last = doubling.len();
        doubling += &format!("T{back}{back}E");
    }
    let long = "n".repeat(100_000);
    let (source, image) = (folder.path().join("l.S"), folder.path().join("l"));
    let text = format!(".globl _start\n_start: nop\n{long}: nop\n_R{doubling}E: ud2\n");
    std::fs::write(&source, text).expect("written");
    let built = Command::new("cc")
        .args(["-g", "-static", "-nostdlib", "-Wl,-Ttext=0x100000", "-o"])
        .args([&image, &source])
        .status();
    assert!(built.expect("this test needs a C compiler (apt-get install gcc)").success());
    let bytes = std::fs::read(&image).expect("read");
    let symbols = Symbols::new(&bytes, 0);
    for (address, call) in [(0, true), (u64::MAX, false), (u64::MAX, true)] {
        let frames = symbols.frames(address, call);
        assert_eq!((frames.len(), &frames[0].function), (1, &None), "{address:#x}");
    }
    let (name, _) = symbols.symbol_at(0x10_0001).expect("there");
    assert!(name.len() == 4096 && long.starts_with(&name), "{}", name.len());
    let (name, _) = symbols.symbol_at(0x10_0002).expect("there");
    assert!(name.len() == 4096 && name.starts_with("a::b::<u8, (u8, u8), ((u8, u8)"), "{name}");
}

#[test]
fn only_source_is_read_for_a_line_of_source() {
    let line = |file: &str| inspect::Source { file: file.into(), line: 1, column: 0 }.text();
    for file in
        ["/proc/self/environ", "/etc/passwd", "/dev/zero", "/proc/kmsg", "/", "/nonexistent.c"]
    {
        assert_eq!(line(file), None, "{file}");
    }
    let folder = TempDir::new().expect("a folder");
    let source = folder.path().join("a.c");
    std::fs::write(&source, format!("int a;{}\n", "x".repeat(5000))).expect("written");
    let text = line(&source.display().to_string()).expect("there");
    assert!(text.starts_with("int a;xxx") && text.len() == 200, "{}", text.len());
    // A pipe by a source file's name is not waited for.
    let pipe = folder.path().join("pipe.c");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    assert_eq!(line(&pipe.display().to_string()), None);
}
