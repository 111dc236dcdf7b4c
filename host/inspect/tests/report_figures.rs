//! The figures of the page of a run: what it says is what was counted, sampled and laid out; and that
//! names of functions, of spans and of what is called make no elements. One guest is in C, so these
//! tests need a C compiler and binutils.

#![expect(clippy::panic, reason = "that is how a test fails")]

use inspect::profile::Profiler;
use inspect::report::{Recorder, Report};
use inspect::{KvmKind, Symbols, drive};
use portcall::abi::span::INTERFACE;
use portcall::stock::StockSpans;
use portcall::{Guest, Image, Kvm, Outcome, Ports, Ring, Vm};
use scraper::{ElementRef, Html, Selector};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// mov edx, 0x1000; out dx, al; inc edx; cmp edx, 0x1000 + 1000; jne to the OUT; hlt
const MANY_PORTS: &[u8] =
    &[0xba, 0, 0x10, 0, 0, 0xee, 0xff, 0xc2, 0x81, 0xfa, 0xe8, 0x13, 0, 0, 0x75, 0xf5, 0xf4];

/// Works, asks a slow handler, begins a span by that name, and works again.
const SOURCE: &str = "\
typedef unsigned long u64;
static inline __attribute__((always_inline)) void spin(u64 turns) {
    __asm__ volatile(\"1: dec %0; jnz 1b\" : \"+r\"(turns));
}
__attribute__((noinline)) void longest(u64 unit) { spin(6 * unit); __asm__ volatile(\"\"); }
__attribute__((noinline)) void shortest(u64 unit) { spin(2 * unit); __asm__ volatile(\"\"); }
__attribute__((noinline)) void begin(const char *name, u64 size) {
    u64 number = BEGIN;
    __asm__ volatile(\"out %%eax, $0xf7\" : \"+a\"(number), \"+D\"(name), \"+S\"(size)
        :: \"rcx\", \"rdx\", \"r8\", \"r9\", \"r10\", \"r11\", \"memory\");
}
void _start(void) {
    u64 cs;
    __asm__ volatile(\"mov %%cs, %0\" : \"=r\"(cs));
    u64 unit = (cs & 3) == 3 ? 4000000 : 2000;
    static const char name[] = NAME;
    begin(name, sizeof name - 1);
    for (int i = 0; i < 7; i++) { longest(unit); __asm__ volatile(\"out %al, $0x77\"); }
    for (int i = 0; i < 11; i++) { shortest(unit); __asm__ volatile(\"out %al, $0x78\"); }
    __asm__ volatile(\"out %%al, $0xf4\" :: \"a\"(0));
    for (;;) {}
}
";

const HOSTILE: &str = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>";

/// As long as it likes, for each.
struct Slow;

impl Ports for Slow {
    fn write(&mut self, _: &mut Guest<'_>, port: u16, _: u8, _: u32) -> Result<(), portcall::End> {
        if port == 0x77 {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// The guest whose span and whose function are called so.
fn build(name: &str) -> Vec<u8> {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("guest.c"), SOURCE).expect("written");
    let run = |command: &mut Command| match command.status() {
        Ok(status) if status.success() => {}
        other => {
            panic!("this test needs gcc and binutils (apt-get install gcc libc6-dev): {other:?}")
        }
    };
    let number = INTERFACE.number(INTERFACE.place("begin"));
    run(Command::new("cc")
        .args(["-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-O1"])
        .args(["-mgeneral-regs-only", "-fno-omit-frame-pointer", "-fno-stack-protector"])
        .arg(format!("-DBEGIN={number}ul"))
        .arg(format!("-DNAME=\"{name}\""))
        .arg("-o")
        .args([at("plain"), at("guest.c")]));
    run(Command::new("objcopy")
        .arg(format!("--redefine-sym=longest={name}"))
        .args([at("plain"), at("guest")]));
    std::fs::read(at("guest")).expect("read")
}

/// What came of a run, beside its page.
struct Ran {
    html: Html,
    outcome: Outcome,
    folded: BTreeMap<String, u64>,
    layout: portcall::layout::Layout,
}

fn ran(file: &[u8], image: &Image<'_>, ring: Ring) -> Ran {
    let kvm = Kvm::open().expect("KVM");
    let (recorder, mut profiler) = (Recorder::new(), Profiler::new(2000, image, file));
    let builder = Vm::builder(&kvm, image).ring(ring).memory(8 << 20).observe(recorder.clone());
    let builder = builder.serve(StockSpans::heard()).ports(0x77..=0x78, Slow);
    let mut vm = profiler.equip(builder).build().expect("a VM");
    let outcome = drive::run(&mut vm, vec![&mut profiler]).expect("runs");
    let symbols = Symbols::new(file, image.bias());
    let explanation =
        inspect::explain(&vm, image, &outcome, file, KvmKind::detect()).expect("explained");
    let profile = profiler.finish();
    let folded = profile.folded(&symbols);
    let mut report = Report::new("guest", &vm, image, &outcome, &explanation);
    report.symbols = Some(&symbols);
    report.recorder = Some(&recorder);
    report.profile = Some(profile);
    let html = Html::parse_document(&report.page());
    Ran { html, outcome, folded, layout: vm.layout().clone() }
}

fn select<'h>(html: &'h Html, selector: &str) -> Vec<ElementRef<'h>> {
    html.select(&Selector::parse(selector).expect("a selector")).collect()
}

fn text(element: ElementRef<'_>) -> String {
    element.text().collect::<String>().trim().to_owned()
}

/// The rows of a section's first table, by cell.
fn rows(html: &Html, table: &str) -> Vec<Vec<String>> {
    let cells = Selector::parse("th, td").expect("a selector");
    let row = |row: ElementRef<'_>| row.select(&cells).map(text).collect();
    select(html, &format!("{table} tbody tr")).into_iter().map(row).collect()
}

fn number(text: &str) -> u64 {
    text.replace('\u{202f}', "").parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// A time of the page's in nanoseconds.
fn nanoseconds(text: &str) -> f64 {
    let Some((value, unit)) = text.split_once('\u{a0}') else { return 0.0 };
    let sizes = BTreeMap::from([("ns", 1.0), ("\u{b5}s", 1e3), ("ms", 1e6), ("s", 1e9)]);
    value.parse::<f64>().expect("a number") * sizes[unit]
}

/// Exits by what they are called, those of all, and the host's own stops.
fn exits(ran: &Ran) -> BTreeMap<String, (u64, f64, f64)> {
    let row = |row: Vec<String>| {
        (row[0].clone(), (number(&row[1]), nanoseconds(&row[2]), nanoseconds(&row[3])))
    };
    rows(&ran.html, "#exits").into_iter().map(row).collect()
}

/// The rows add up to "all", which is what the host counted.
fn add_up(ran: &Ran) -> BTreeMap<String, (u64, f64, f64)> {
    let mut exits = exits(ran);
    let own = exits.remove("the host's own stops");
    let all = exits.remove("all").expect("all");
    assert_eq!(all.0, ran.outcome.stats.exits());
    assert_eq!(exits.values().map(|it| it.0).sum::<u64>(), all.0);
    let stops = ran.outcome.stats.exits_of(portcall::exit::ExitKind::Interrupted)
        + ran.outcome.stats.exits_of(portcall::exit::ExitKind::Debug);
    assert_eq!(own.map_or(0, |it| it.0), stops);
    // Each time has three digits.
    let near = |sum: f64, all: f64| assert!((sum - all).abs() <= all / 50.0, "{sum} is not {all}");
    near(exits.values().map(|it| it.1).sum(), all.1);
    near(exits.values().map(|it| it.2).sum(), all.2);
    exits
}

#[test]
fn exits_are_those_that_were_made_and_times_are_the_guests_and_the_hosts() {
    let file = build("harmless");
    let image = Image::parse(&file).expect("an image");
    for ring in [Ring::Zero, Ring::Three] {
        let exits = add_up(&ran(&file, &image, ring));
        let (slow, quick) = (exits["out 0x77"], exits["out 0x78"]);
        assert_eq!((slow.0, quick.0), (7, 11));
        assert_eq!((exits["Span::begin"].0, exits["out 0xf4 exit"].0), (1, 1));
        // The handler slept for 140 ms, the guest worked for some.
        assert!(slow.2 >= 140e6 && quick.2 < slow.2, "{slow:?} {quick:?}");
        assert!(quick.1 > quick.2, "{quick:?}");
    }
}

#[test]
fn kinds_without_a_row_of_their_own_are_in_the_sums_and_in_the_scale() {
    let image = Image::flat(MANY_PORTS).expect("an image");
    let ran = ran(&[], &image, Ring::Zero);
    let exits = add_up(&ran);
    assert_eq!((exits.len(), exits["all others"].0), (61, 941));
    for bar in select(&ran.html, "#exits tbody svg.bar") {
        let rects = bar.select(&Selector::parse("rect").expect("a selector")).collect::<Vec<_>>();
        let width = |it: &ElementRef<'_>| {
            it.attr("width")
                .expect("a width")
                .trim_end_matches('%')
                .parse::<f64>()
                .expect("percent")
        };
        assert!(rects.iter().map(width).sum::<f64>() <= 100.02, "{}", bar.html());
    }
}

#[test]
fn shares_are_those_of_the_samples() {
    let file = build("harmless");
    let image = Image::parse(&file).expect("an image");
    let ran = ran(&file, &image, Ring::Three);
    let all = ran.folded.values().sum::<u64>();
    let table = rows(&ran.html, "#flame table");
    let shares: BTreeMap<_, _> = table.iter().map(|row| (&*row[0], (&*row[1], &*row[2]))).collect();
    #[expect(clippy::cast_precision_loss, reason = "one place is shown")]
    let share = |of: &dyn Fn(&str) -> bool| {
        let part = ran.folded.iter().filter(|(stack, _)| of(stack)).map(|(_, it)| it).sum::<u64>();
        format!("{:.1}%", part as f64 / all as f64 * 100.0)
    };
    for name in ["harmless", "shortest", "_start"] {
        let own = share(&|stack| stack.rsplit(';').next() == Some(name));
        let with = share(&|stack| stack.split(';').any(|it| it == name));
        assert_eq!(shares[name], (&*own, &*with), "{name}");
    }
    // Of the guest's own time it had 42 of 64 parts.
    let titles: Vec<_> = select(&ran.html, "#flame-graph title").into_iter().map(text).collect();
    let wanted = format!(", {}", shares["harmless"].1);
    assert!(titles.iter().any(|it| it.starts_with("harmless, ") && it.ends_with(&wanted)));
}

#[test]
fn the_memory_map_is_the_layout_and_the_page_tables() {
    let file = build("harmless");
    let image = Image::parse(&file).expect("an image");
    for (ring, user) in [(Ring::Zero, '-'), (Ring::Three, 'u')] {
        let ran = ran(&file, &image, ring);
        let rows = rows(&ran.html, "#memory table");
        let row = |name: &str| rows.iter().find(|row| row[5] == name).expect(name);
        let layout = &ran.layout;
        for (name, range, permissions) in [
            ("stack", &layout.stack, format!("rw-{user}")),
            ("page tables", &layout.tables, "rw--".to_owned()),
            ("guard page below the stack", &layout.guard, "not mapped".to_owned()),
        ] {
            let row = row(name);
            assert_eq!(row[0], format!("{:#x}", range.start), "{name}");
            assert_eq!(row[1], format!("{:#x}", range.end), "{name}");
            if name != "page tables" {
                assert_eq!(row[3], permissions, "{name} {ring:?}");
            }
        }
        let code = rows.iter().find(|row| row[5].starts_with("image, r-x")).expect("code");
        assert_eq!(code[3], format!("r-x{user}"), "{ring:?}");
        // From one row to the next: nothing in RAM is left out or there twice.
        let address = |text: &str| u64::from_str_radix(&text[2..], 16).expect("an address");
        let bounds: Vec<_> = rows.iter().map(|row| (address(&row[0]), address(&row[1]))).collect();
        let end = layout.ram.first().expect("RAM").end;
        let in_ram = bounds.iter().filter(|(from, _)| *from < end).collect::<Vec<_>>();
        assert_eq!((in_ram[0].0, in_ram[in_ram.len() - 1].1), (0, end));
        assert!(in_ram.windows(2).all(|pair| pair[0].1 == pair[1].0), "{in_ram:x?}");
    }
}

/// Each element that a text could have made, with the names of its attributes, each kind once: how many
/// samples and exits there are is a matter of time.
fn kinds(html: &Html) -> std::collections::BTreeSet<String> {
    let path = |element: ElementRef<'_>| {
        let mut names: Vec<&str> = element.value().attrs().map(|(name, _)| name).collect();
        names.sort_unstable();
        let above = element.ancestors().filter_map(ElementRef::wrap).map(|it| it.value().name());
        let above: Vec<_> = above.collect();
        format!("{} {names:?} in {above:?}", element.value().name())
    };
    select(html, "*").into_iter().map(path).collect()
}

#[test]
fn hostile_names_of_functions_spans_and_calls_make_no_elements() {
    let page = |name: &str| {
        let file = build(name);
        let image = Image::parse(&file).expect("an image");
        ran(&file, &image, Ring::Three).html
    };
    let (hostile, harmless) = (page(HOSTILE), page("harmless"));
    let said = |section: &str| select(&hostile, section).into_iter().map(text).collect::<String>();
    assert!(said("#flame table").contains(HOSTILE), "the function's name");
    assert!(
        said("#timeline table").contains("</title></script><script>alert(1)"),
        "the span's name"
    );
    assert!(said("#events").contains("Span::begin(name: \"</title>"), "the call");
    assert_eq!(kinds(&hostile), kinds(&harmless));
}
