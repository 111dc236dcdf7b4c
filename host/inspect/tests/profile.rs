//! Samples of guests whose time is known beforehand, and of such as make them hard to take. The guests
//! are in C, so these tests need a C compiler.

#![expect(clippy::panic, reason = "that is how a test fails")]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::kvm;
use inspect::Symbols;
use inspect::drive;
use inspect::profile::{HOST, Profile, Profiler};
use portcall::{End, Guest, Image, Ports, Ring, Vm};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A loop of two instructions, so many twelfths of it in each function, and an OUT.
const SHARES: &str = "\
typedef unsigned long u64;
static inline __attribute__((always_inline)) void spin(u64 turns) {
    __asm__ volatile(\"1: dec %0; jnz 1b\" : \"+r\"(turns));
}
__attribute__((noinline)) void six(u64 unit) { spin(6 * unit); }
__attribute__((noinline)) void three(u64 unit) { spin(3 * unit); }
__attribute__((noinline)) void one(u64 unit) { spin(unit); }
__attribute__((noinline)) void recursive(int depth, u64 unit) {
    if (depth == 0) { spin(unit); } else { recursive(depth - 1, unit); }
    __asm__ volatile(\"\");
}
static inline __attribute__((always_inline)) void inlined(u64 unit) { spin(unit); }
__attribute__((noinline)) void around(u64 unit) { inlined(unit); __asm__ volatile(\"\"); }
__attribute__((noinline)) void asks(void) { __asm__ volatile(\"out %%al, $0x77\" ::: \"memory\"); }
void _start(void) {
    u64 cs;
    __asm__ volatile(\"mov %%cs, %0\" : \"=r\"(cs));
    u64 unit = (cs & 3) == 3 ? 4000000 : 1000;
    for (int i = 0; i < 20; i++) {
        six(unit); three(unit); one(unit); recursive(8, unit); around(unit);
    }
    asks();
    __asm__ volatile(\"out %%al, $0xf4\" :: \"a\"(0));
    for (;;) {}
}
";

/// How long a twelfth is in ring 3, and in the ring 0 that may be emulated.
const UNITS: &str = "4000000 : 1000";

/// Spins of some 100 us, and an OUT behind each.
const SHORT: &str = "\
static inline __attribute__((always_inline)) void spin(unsigned long turns) {
    __asm__ volatile(\"1: dec %0; jnz 1b\" : \"+r\"(turns));
}
__attribute__((noinline)) void works(void) { spin(280000); __asm__ volatile(\"\"); }
__attribute__((noinline)) void asks(void) { __asm__ volatile(\"out %%al, $0x78\" ::: \"memory\"); }
void _start(void) {
    for (int i = 0; i < 2500; i++) { works(); asks(); }
    __asm__ volatile(\"out %%al, $0xf4\" :: \"a\"(0));
    for (;;) {}
}
";

/// Calls itself more often than is followed.
const DEEP: &str = "\
__attribute__((noinline)) int deep(int depth) {
    int found = 1;
    if (depth > 0) found += deep(depth - 1);
    else for (volatile int i = 0; i < 20000; i++) {}
    return found;
}
void _start(void) {
    deep(1000);
    __asm__ volatile(\"out %%al, $0xf4\" :: \"a\"(0));
    for (;;) {}
}
";

/// How long the host takes for its one answer.
const ANSWER: Duration = Duration::from_millis(100);

struct Slow;

impl Ports for Slow {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
        std::thread::sleep(ANSWER);
        Ok(())
    }
}

/// Takes so long for each, by its own clock, and says how long that was in all.
struct Busy(Duration, Arc<AtomicU64>);

impl Ports for Busy {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
        let start = Instant::now();
        while start.elapsed() < self.0 {}
        let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.1.fetch_add(took, Ordering::Relaxed);
        Ok(())
    }
}

/// The guest's image.
fn build(source: &str) -> Vec<u8> {
    build_with(source, &["-fno-omit-frame-pointer"])
}

fn build_with(source: &str, options: &[&str]) -> Vec<u8> {
    let folder = TempDir::new().expect("a folder");
    let (file, image) = (folder.path().join("guest.c"), folder.path().join("guest"));
    std::fs::write(&file, source).expect("written");
    let built = Command::new("cc")
        .args(["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-mno-red-zone"])
        .args(["-mgeneral-regs-only", "-O1", "-g"])
        .args(options)
        .args(["-fno-ipa-icf", "-fno-optimize-sibling-calls"])
        .arg("-o")
        .arg(&image)
        .arg(&file)
        .status();
    match built {
        Ok(status) if status.success() => std::fs::read(image).expect("read"),
        other => panic!("this test needs a C compiler (apt-get install gcc libc6-dev): {other:?}"),
    }
}

/// Samples of a run.
fn profiled(image: &Image<'_>, file: &[u8], ring: Ring) -> Profile {
    profiled_at(1000, image, file, ring)
}

/// So many samples a second.
fn profiled_at(rate: u32, image: &Image<'_>, file: &[u8], ring: Ring) -> Profile {
    let mut profiler = Profiler::new(rate, image, file);
    let kvm = kvm();
    let builder = profiler.equip(Vm::builder(&kvm, image).ring(ring));
    let mut vm = builder.ports(0x77..=0x77, Slow).build().expect("builds");
    let outcome = drive::run(&mut vm, vec![&mut profiler]).expect("runs");
    assert_eq!(outcome.end, End::Exited(0));
    profiler.finish()
}

fn folded(file: &[u8], ring: Ring) -> BTreeMap<String, u64> {
    let image = Image::parse(file).expect("right");
    profiled(&image, file, ring).folded(&Symbols::new(file, image.bias()))
}

#[test]
fn shares_that_are_known_are_found_in_both_rings() {
    // At a low rate all takes ten times as long, so that a round has as many samples.
    for (rate, units) in [(100, "40000000 : 10000"), (1000, UNITS), (5000, UNITS)] {
        let file = build(&SHARES.replace(UNITS, units));
        shares_are_found(&file, rate);
    }
}

fn shares_are_found(file: &[u8], rate: u32) {
    let image = Image::parse(file).expect("right");
    for ring in [Ring::Zero, Ring::Three] {
        let profile = profiled_at(rate, &image, file, ring);
        let lines = profile.folded(&Symbols::new(file, image.bias()));
        let with = |name: &str| {
            let has = |line: &String| line.split(';').any(|frame| frame == name);
            lines.iter().filter(|(line, _)| has(line)).map(|(_, time)| *time).sum::<u64>()
        };
        let in_guest = lines.values().sum::<u64>() - with(HOST);
        for (name, twelfths) in
            [("six", 6), ("three", 3), ("one", 1), ("recursive", 1), ("inlined", 1), ("spin", 12)]
        {
            let (found, known) = (with(name) * 100 / in_guest, twelfths * 100 / 12);
            assert!(
                found.abs_diff(known) <= 8,
                "{name} in {ring:?} at {rate} Hz: {found}% of {lines:#?}"
            );
        }
        // What the host took is on top of who asked.
        let host = Duration::from_micros(with(HOST));
        assert!(host >= ANSWER * 9 / 10, "{host:?} in {ring:?}: {lines:#?}");
        assert!(lines.contains_key(&format!("_start;asks;{HOST}")), "{lines:#?}");
        // Inlined functions have frames of their own, and calls each theirs.
        assert!(lines.contains_key("_start;around;inlined;spin"), "{lines:#?}");
        let nine = ["recursive"; 9].join(";");
        assert!(lines.contains_key(&format!("_start;{nine};spin")), "{lines:#?}");
    }
}

/// The shares of the host and of the guest's work in percent, where each answer takes so long; the
/// host's share by the handler's own clock; and what a period is, for less than one at the end is
/// nobody's.
fn short_exits(file: &[u8], rate: u32, answer: Duration) -> [u64; 4] {
    let image = Image::parse(file).expect("right");
    let mut profiler = Profiler::new(rate, &image, file);
    let (kvm, busy) = (kvm(), Arc::new(AtomicU64::new(0)));
    let builder = profiler.equip(Vm::builder(&kvm, &image).ring(Ring::Three));
    let mut vm =
        builder.ports(0x78..=0x78, Busy(answer, Arc::clone(&busy))).build().expect("builds");
    let outcome = drive::run(&mut vm, vec![&mut profiler]).expect("runs");
    assert_eq!(outcome.end, End::Exited(0));
    let lines = profiler.finish().folded(&Symbols::new(file, image.bias()));
    let with = |name: &str| {
        let has = |line: &String| line.split(';').any(|frame| frame == name);
        lines.iter().filter(|(line, _)| has(line)).map(|(_, time)| *time).sum::<u64>()
    };
    let all = lines.values().sum::<u64>().max(1);
    let known = busy.load(Ordering::Relaxed) * 100 / all;
    let lost = 100_000_000 / u64::from(rate) / all;
    [with(HOST) * 100 / all, with("works") * 100 / all, known, lost]
}

#[test]
fn the_host_has_what_it_took_of_short_exits_whatever_the_rate() {
    let file = build(SHORT);
    for answer in [Duration::ZERO, Duration::from_micros(100)] {
        for rate in [50, 1000, 10_000] {
            // On a busy machine others have the processor in an answer too, now and then; what is
            // charged wrongly is so each time.
            let mut found = Vec::new();
            let right = (0..4).any(|_| {
                let [host, works, known, lost] = short_exits(&file, rate, answer);
                found.push(format!("{host}% host, {works}% works of {known}%, {lost}% lost"));
                if answer.is_zero() {
                    host <= 5 && works >= 30
                } else {
                    host >= 10 && host.abs_diff(known) <= 4 + lost && works >= 5
                }
            });
            assert!(right, "{answer:?} at {rate} Hz: {found:#?}");
        }
    }
}

#[test]
fn more_calls_than_are_followed_are_said_to_be() {
    let file = build(DEEP);
    let lines = folded(&file, Ring::Zero);
    let deepest = lines.keys().find(|line| line.starts_with("[deeper calls];deep;deep;"));
    let deepest = deepest.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(deepest.split(';').count(), 257, "{deepest}");
}

#[test]
fn unwind_tables_lead_where_frame_pointers_do_not() {
    // By .eh_frame, and by .debug_frame alone.
    for more in ["-fasynchronous-unwind-tables", "-fno-asynchronous-unwind-tables"] {
        let file = build_with(SHARES, &["-fomit-frame-pointer", more]);
        for ring in [Ring::Zero, Ring::Three] {
            let lines = folded(&file, ring);
            let nine = ["recursive"; 9].join(";");
            for line in ["around;inlined;spin", "six;spin", &format!("{nine};spin")] {
                let line = format!("_start;{line}");
                assert!(lines.contains_key(&line), "{line} in {ring:?} with {more}: {lines:#?}");
            }
            assert!(!lines.keys().any(|line| line.starts_with('[')), "{lines:#?}");
        }
    }
}

#[test]
fn a_stack_that_leads_nowhere_is_unknown() {
    // push rsp; mov rbp, rsp; mov ecx, 50000; dec ecx; jnz -4; xor eax, eax; out 0xf4, eax
    const LOOP: &[u8] = b"\x54\x48\x89\xe5\xb9\x50\xc3\0\0\xff\xc9\x75\xfc\x31\xc0\xe7\xf4";
    // The same with RBP where there is no memory.
    const WILD: &[u8] =
        b"\x48\xc7\xc5\xf0\xff\xff\xff\xb9\x50\xc3\0\0\xff\xc9\x75\xfc\x31\xc0\xe7\xf4";
    for code in [LOOP, WILD] {
        let image = Image::flat(code).expect("right");
        let profile = profiled(&image, &[], Ring::Zero);
        assert!(profile.samples() > 0);
        let lines = profile.folded(&Symbols::new(&[], 0));
        assert!(lines.keys().all(|line| line == "[unknown]"), "{lines:#?}");
    }
}

#[test]
fn without_symbols_there_are_addresses_with_their_section() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("guest");
    std::fs::write(&path, build(SHARES)).expect("written");
    let stripped = Command::new("strip").arg("-s").arg(&path).status();
    assert!(stripped.is_ok_and(|it| it.success()), "binutils");
    let lines = folded(&std::fs::read(&path).expect("read"), Ring::Three);
    let innermost = |line: &String| line.rsplit(';').next().map(str::to_owned);
    let is_address = |it: &String| it.starts_with("0x") && it.ends_with(" .text");
    assert!(lines.keys().filter_map(innermost).any(|it| is_address(&it)), "{lines:#?}");
}

#[test]
fn a_symbol_is_text_whatever_its_name() {
    const HOSTILE: &str = "<script>alert(1)</script>&\"]]>";
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("guest");
    std::fs::write(&path, build(SHARES)).expect("written");
    let renamed = Command::new("objcopy")
        .args(["--strip-debug", "--redefine-sym", &format!("six={HOSTILE}")])
        .arg(&path)
        .status();
    assert!(renamed.is_ok_and(|it| it.success()), "binutils");
    let file = std::fs::read(&path).expect("read");
    let image = Image::parse(&file).expect("right");
    let profile = profiled(&image, &file, Ring::Three);
    let symbols = Symbols::new(&file, image.bias());
    assert!(profile.folded(&symbols).keys().any(|line| line.contains(HOSTILE)));
    let mut svg = Vec::new();
    profile.write_svg("</title><script>x", &symbols, &mut svg).expect("written");
    let svg = String::from_utf8(svg).expect("text");
    assert!(!svg.contains("<script>alert") && !svg.contains("<script>x"), "{svg}");
    assert!(svg.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;"), "{svg}");
    // The dark form is in the one sheet that there is.
    let sheet = svg.split_once("<style").and_then(|(_, rest)| rest.split_once("</style>"));
    assert!(sheet.is_some_and(|(sheet, _)| sheet.contains("prefers-color-scheme: dark")), "{svg}");
    assert_eq!(svg.matches("<style").count(), 1, "{svg}");
}

#[test]
fn no_sample_is_said_in_the_picture() {
    let image = Image::flat(&[0xf4]).expect("right");
    let profile = Profiler::new(1, &image, &[]).finish();
    let mut svg = Vec::new();
    profile.write_svg("a<b>", &Symbols::new(&[], 0), &mut svg).expect("written");
    let svg = String::from_utf8(svg).expect("text");
    assert!(svg.contains("no samples") && svg.contains("a&lt;b&gt;"), "{svg}");
    assert!(svg.contains("prefers-color-scheme: dark"), "{svg}");
}
