//! Lines of guests of which it is known which are reached, and images that make it hard to find
//! them. The guests are in C, so these tests need a C compiler.

#![expect(clippy::panic, reason = "that is how a test fails")]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::kvm;
use inspect::coverage::{Collector, Coverage, Plan};
use inspect::drive;
use portcall::{End, Gva, Image, Limit, Ring, Vm};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Each line says whether it is reached.
const SOURCE: &str = "\
volatile int four = 4, found, rounds;
__attribute__((noinline)) int half(int value) {
    if (value % 2) {
        rounds = 50; // no
    }
    return value / 2; // yes
}
__attribute__((noinline)) int never(int value) {
    return value * four; // no
}
static inline __attribute__((always_inline)) int inlined(int value) {
    if (value > 100)
        found = value; // no
    return value + four; // yes
}
void _start(void) {
    found = half(four); // yes
    for (int i = 0; i < 3; i++)
        rounds = inlined(rounds); // yes
    if (found == 99)
        found = never(found); // no
    __asm__ volatile(\"out %%al, $0xf4\" :: \"a\"(0)); // yes
    for (;;) {}
}
";

struct Built {
    _folder: TempDir,
    file: Vec<u8>,
}

fn build(source: &str, options: &[&str]) -> Built {
    let folder = TempDir::new().expect("a folder");
    let (source_file, image) = (folder.path().join("guest.c"), folder.path().join("guest"));
    std::fs::write(&source_file, source).expect("written");
    let built = Command::new("cc")
        .args(["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-mno-red-zone"])
        .args(["-mgeneral-regs-only", "-O1"])
        .args(options)
        .arg("-o")
        .arg(&image)
        .arg(&source_file)
        .status();
    match built {
        Ok(status) if status.success() => {
            Built { file: std::fs::read(image).expect("read"), _folder: folder }
        }
        other => panic!("this test needs a C compiler (apt-get install gcc libc6-dev): {other:?}"),
    }
}

fn covered(file: &[u8], ring: Ring, expected: &End) -> Coverage {
    let image = Image::parse(file).expect("right");
    let plan = Plan::of(&image, file, |_| true).expect("it has lines");
    let mut collector = Collector::new(plan);
    let kvm = kvm();
    let builder = Vm::builder(&kvm, &image).ring(ring);
    let mut vm = builder.limit(Limit::Time(Duration::from_secs(1))).build().expect("builds");
    let outcome = drive::run(&mut vm, vec![&mut collector]).expect("runs");
    assert_eq!(outcome.end, *expected);
    // Nothing of it is left in the guest.
    for segment in image.segments().iter().filter(|it| it.permissions.execute) {
        let bytes = image.bytes_of(segment);
        let mut now = vec![0; bytes.len()];
        vm.memory().read(segment.gpa, &mut now).expect("is RAM");
        assert!(now == bytes, "a breakpoint is left");
    }
    assert_eq!(collector.left_out(), 0);
    collector.finish()
}

/// Checks every line that says what it is.
fn assert_as_said(coverage: &Coverage, source: &str) {
    let (_, file) = coverage.files.first_key_value().expect("one file");
    for (number, text) in (1..).zip(source.lines()) {
        let said = match text.rsplit_once("// ") {
            Some((_, "yes")) => true,
            Some((_, "no")) => false,
            _ => continue,
        };
        assert_eq!(file.lines.get(&number), Some(&said), "{number}: {text}\n{file:#?}");
    }
}

#[test]
fn lines_that_are_known_to_be_reached_are_in_both_rings() {
    let built = build(SOURCE, &["-g"]);
    for ring in [Ring::Zero, Ring::Three] {
        let coverage = covered(&built.file, ring, &End::Exited(0));
        assert_as_said(&coverage, SOURCE);
        let (path, file) = coverage.files.first_key_value().expect("one file");
        assert!(path.ends_with("guest.c"), "{}", path.display());
        let functions: Vec<_> =
            file.functions.iter().map(|((_, name), called)| (name.as_str(), *called)).collect();
        assert_eq!(functions, [("half", true), ("never", false), ("_start", true)]);
    }
}

#[test]
fn what_was_reached_by_then_is_kept_however_it_ends() {
    let dies = "volatile int zero;\nvoid _start(void) {\n    zero += 1; // yes\n    zero = 7 / \
                (zero - 1); // yes\n    for (;;) zero++; // no\n}\n";
    let spins = "volatile int one;\nvoid _start(void) {\n    one = 1; // yes\n    while (one) {}\n    \
                 one = 2; // no\n    for (;;) {}\n}\n";
    for ring in [Ring::Zero, Ring::Three] {
        let file = build(spins, &["-g"]).file;
        let end = End::LimitReached(Limit::Time(Duration::from_secs(1)));
        assert_as_said(&covered(&file, ring, &end), spins);
        let file = build(dies, &["-g"]).file;
        let image = Image::parse(&file).expect("right");
        let mut collector = Collector::new(Plan::of(&image, &file, |_| true).expect("lines"));
        let mut vm = Vm::builder(&kvm(), &image).ring(ring).build().expect("builds");
        let outcome = drive::run(&mut vm, vec![&mut collector]).expect("runs");
        assert!(matches!(outcome.end, End::Exception(it) if it.vector == 0), "{:?}", outcome.end);
        assert_as_said(&collector.finish(), dies);
    }
}

#[test]
fn only_sources_that_are_wanted_are_in_the_plan() {
    let file = build(SOURCE, &["-g"]).file;
    let image = Image::parse(&file).expect("right");
    let plan = Plan::of(&image, &file, |path| path.starts_with("/nonexistent")).expect("lines");
    assert_eq!(plan.addresses().count(), 0);
}

#[test]
fn without_line_tables_it_says_what_to_do() {
    for options in [&["-g0"][..], &["-g", "-gz"]] {
        let built = build(SOURCE, options);
        let image = Image::parse(&built.file).expect("right");
        let error = Plan::of(&image, &built.file, |_| true).expect_err("no lines");
        assert!(error.contains("-g") || error.contains("compressed"), "{error}");
    }
}

#[test]
fn an_address_within_an_instruction_is_left_alone() {
    // The same line table over other code: a MOV with a long immediate in place of each two.
    let mut file = build(SOURCE, &["-g"]).file;
    let image = Image::parse(&file).expect("right");
    let plan = Plan::of(&image, &file, |_| true).expect("lines");
    let (before, code) = (plan.addresses().count(), image.segments().to_vec());
    let code = code.iter().find(|it| it.permissions.execute).expect("code");
    let half = image.symbol("half").expect("is there").address;
    let never = image.symbol("never").expect("is there").address;
    let at = |gva: Gva| code.file.start + usize::try_from(gva.0 - code.gva.0).expect("small");
    let range = at(half)..at(never);
    // mov rax, imm64: ten bytes each.
    for piece in file[range].chunks_mut(10) {
        piece.fill(0);
        let opcode = [0x48, 0xb8];
        let whole = piece.len().min(2);
        piece[..whole].copy_from_slice(&opcode[..whole]);
    }
    let image = Image::parse(&file).expect("right");
    let plan = Plan::of(&image, &file, |_| true).expect("lines");
    assert!(plan.left_out() > 0);
    assert_eq!(plan.addresses().count() + plan.left_out(), before);
}

#[test]
fn broken_line_tables_neither_panic_nor_touch_what_is_no_code() {
    let good = build(SOURCE, &["-g"]).file;
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).expect("small")
    };
    let start = {
        let sections = portcall::sections::Sections::parse(&good);
        let table = sections.bytes(".debug_line").expect("is there");
        table.as_ptr().addr() - good.as_ptr().addr()
            ..table.as_ptr().addr() + table.len() - good.as_ptr().addr()
    };
    for _ in 0..2000 {
        let mut file = good.clone();
        for _ in 0..=random() % 4 {
            let at = start.start + random() % start.len();
            file[at] = random().to_le_bytes()[0];
        }
        let image = Image::parse(&file).expect("right");
        if let Ok(plan) = Plan::of(&image, &file, |_| true) {
            let is_code = |at: u64| {
                let mut all = image.segments().iter();
                all.any(|it| it.permissions.execute && it.virtual_range().contains(&at))
            };
            assert!(plan.addresses().all(is_code));
        }
    }
}

#[test]
fn genhtml_takes_what_is_written() {
    let folder = TempDir::new().expect("a folder");
    let file = build(SOURCE, &["-g"]).file;
    let mut coverage = covered(&file, Ring::Three, &End::Exited(0));
    // The source is gone with its folder.
    let (_, lines) = coverage.files.pop_first().expect("one file");
    let source = folder.path().join("guest.c");
    std::fs::write(&source, SOURCE).expect("written");
    coverage.files.insert(source, lines);
    let lcov = folder.path().join("lcov.info");
    let mut to = std::fs::File::create(&lcov).expect("made");
    coverage.write_lcov("guest", &mut to).expect("written");
    let made =
        Command::new("genhtml").arg(&lcov).arg("-o").arg(folder.path().join("html")).output();
    let Ok(made) = made else { panic!("this test needs genhtml (apt-get install lcov): {made:?}") };
    let said = String::from_utf8_lossy(&made.stdout);
    let (reached, all) = coverage.reached();
    assert!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
    assert!(said.contains(&format!("({reached} of {all} lines)")), "{said}");
    assert!(said.contains("(2 of 3 functions)"), "{said}");
    assert!(Path::new(&folder.path().join("html/index.html")).is_file());
}
