//! `--emit trace`: what is in it, that it keeps the rules of its format, and that it is there whatever
//! becomes of the run.

#[path = "../../tests/common/mod.rs"]
mod common;
mod said;

use common::elf::Elf;
use inspect::KvmKind;
use inspect::trace::{Format, Subject, Trace};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcall::abi::span;
use portcall::stock::StockSpans;
use portcall::{Image, Limit, Vm};
use said::{assert_says, stderr};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Where the image is loaded, and where names lie in it.
const START: usize = 0x10_0000;
const NAMES: usize = 0x800;
/// mov al, 'x'; out 0xe9, al; jmp to itself
const SPIN: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfe];
/// out 0xe9, al; jmp back
const FLOOD: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfc];
/// ud2
const DIES: &[u8] = &[0x0f, 0x0b];

/// A guest that begins and ends spans, in machine code.
#[derive(Default)]
struct Spans {
    code: Vec<u8>,
    names: Vec<u8>,
}

impl Spans {
    fn call(mut self, name: &str, rdi: u32, rsi: u32) -> Self {
        let number = span::INTERFACE.number(span::INTERFACE.place(name));
        // mov eax, NUMBER; mov edi, RDI; mov esi, RSI; out 0xf7, eax
        for (opcode, word) in [(0xb8, number), (0xbf, rdi), (0xbe, rsi)] {
            self.code.push(opcode);
            self.code.extend(word.to_le_bytes());
        }
        self.code.extend([0xe7, 0xf7]);
        self
    }

    fn begin(mut self, name: &[u8]) -> Self {
        let at = u32::try_from(START + NAMES + self.names.len()).expect("small");
        self.names.extend(name);
        self.call("begin", at, name.len().try_into().expect("small"))
    }

    fn end(self, id: u32) -> Self {
        self.call("end", id, 0)
    }

    /// The image: it ends with code 0.
    fn image(mut self) -> Vec<u8> {
        // xor eax, eax; out 0xf4, eax
        self.code.extend([0x31, 0xc0, 0xe7, 0xf4]);
        assert!(self.code.len() <= NAMES);
        self.code.resize(NAMES, 0xf4);
        Elf::new(&[self.code, self.names].concat()).bytes()
    }
}

/// An event's time or duration in nanoseconds.
fn nanoseconds(event: &Value, key: &str) -> i64 {
    let micros = event[key].as_f64().expect(key);
    assert!(micros >= 0.0, "{event}");
    #[expect(clippy::cast_possible_truncation, reason = "a run of some seconds")]
    let nanoseconds = (micros * 1e3).round() as i64;
    nanoseconds
}

/// Holds a document to the rules of the Trace Event Format (Google, 2016), and gives its events.
#[track_caller]
fn checked(document: &[u8]) -> Vec<Value> {
    let document: Value = serde_json::from_slice(document).expect("it is JSON");
    let events = document["traceEvents"].as_array().expect("it has events").clone();
    let mut tracks: BTreeMap<(u64, u64), Vec<(i64, i64)>> = BTreeMap::new();
    let mut open: BTreeMap<(u64, u64), i64> = BTreeMap::new();
    for event in &events {
        assert!(event["name"].is_string(), "{event}");
        let (pid, tid) = (event["pid"].as_u64(), event["tid"].as_u64());
        let track = (pid.expect("a pid"), tid.expect("a tid"));
        let at = nanoseconds(event, "ts");
        match event["ph"].as_str().expect("a phase") {
            "X" => {
                let until = at + nanoseconds(event, "dur");
                tracks.entry(track).or_default().push((at, -until));
            }
            "B" => *open.entry(track).or_default() += 1,
            "E" => {
                let open = open.entry(track).or_default();
                *open -= 1;
                assert!(*open >= 0, "it ends what did not begin: {event}");
            }
            "M" => assert!(event["args"].is_object(), "{event}"),
            phase => {
                assert_eq!(phase, "i", "no other phase is used: {event}");
                assert!(matches!(event["s"].as_str(), Some("g" | "p" | "t")), "{event}");
            }
        }
        assert!(event.get("args").is_none_or(Value::is_object), "{event}");
    }
    assert!(open.values().all(|open| *open == 0), "something never ends");
    for (track, mut pieces) in tracks {
        pieces.sort_unstable();
        let mut outer: Vec<i64> = Vec::new();
        for (at, until) in pieces.into_iter().map(|(at, until)| (at, -until)) {
            while outer.last().is_some_and(|outer| *outer <= at) {
                outer.pop();
            }
            assert!(outer.last().is_none_or(|outer| until <= *outer), "{track:?} at {at} ns");
            outer.push(until);
        }
    }
    events
}

/// The pieces of one kind: their names.
fn named<'e>(events: &'e [Value], category: &str) -> Vec<&'e str> {
    let of_category = events.iter().filter(|event| event["cat"] == category);
    of_category.map(|event| event["name"].as_str().expect("a name")).collect()
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn guest(&self, image: &[u8]) -> PathBuf {
        std::fs::write(self.path("guest"), image).expect("written");
        self.path("guest")
    }

    /// `--emit trace` into a file.
    fn emit(&self, kind: &str, name: &str) -> String {
        format!("--emit={kind}={}", self.path(name).display())
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("it is there")
    }

    fn events(&self, name: &str) -> Vec<Value> {
        checked(&self.read(name))
    }
}

fn portcall(command: &str, file: &Path, options: &[&str]) -> Command {
    let mut portcall = Command::new(env!("CARGO_BIN_EXE_portcall"));
    portcall.arg(command).arg(file).args(options);
    portcall.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    portcall
}

fn run(file: &Path, options: &[&str]) -> Output {
    portcall("run", file, options).output().expect("starts")
}

#[test]
fn exits_calls_steps_and_spans_are_in_it_in_both_rings_and_in_a_replay() {
    let bench = Bench::new();
    let guest =
        bench.guest(&Spans::default().begin(b"outer").begin(b"inner").end(2).end(1).image());
    for ring in ["--ring=0", "--ring=3"] {
        let (trace, lines) = (bench.emit("trace", "a.json"), bench.emit("trace", "a.jsonl"));
        let (text, log) = (bench.emit("trace", "a.txt"), bench.emit("log", "log"));
        assert_says(&run(&guest, &[ring, &trace, &lines, &text, &log]), 0, &["5 exits"]);
        let events = bench.events("a.json");
        assert_eq!(named(&events, "guest").len(), 5);
        assert_eq!(named(&events, "span"), ["outer", "inner"]);
        let host = ["Span::begin", "Span::begin", "Span::end", "Span::end", "out 0xf4 exit"];
        assert_eq!(named(&events, "host"), host);
        let steps = named(&events, "step");
        assert_eq!((steps[0], steps[steps.len() - 1]), ("1 KVM_CREATE_VM", "12 KVM_GET_REGS"));
        let inner = events.iter().find(|event| event["args"]["call"] == "Span::end(span: 2)");
        assert!(inner.is_some(), "{events:?}");

        let text = String::from_utf8(bench.read("a.txt")).expect("UTF-8");
        for part in ["1 KVM_CREATE_VM", "{ outer", "  { inner", "} inner (", "end: exited"] {
            assert!(text.contains(part), "{text}");
        }
        let lines = String::from_utf8(bench.read("a.jsonl")).expect("UTF-8");
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let exits: Vec<_> = lines.iter().filter(|line| line["type"] == "exit").collect();
        assert_eq!(exits.len(), 5);
        // RIP is at the OUT or behind it.
        assert!(exits.iter().all(|exit| exit["rip"].as_str().is_some_and(|it| it > "0x100000")));
        assert_eq!(lines[lines.len() - 1]["dropped"], 0);

        let again = bench.emit("trace", "again.json");
        let replayed = portcall("replay", &bench.path("log"), &[&again]).output().expect("starts");
        assert_says(&replayed, 0, &["the same as recorded, in all 5 exits"]);
        assert_eq!(named(&bench.events("again.json"), "span"), ["outer", "inner"]);
    }
}

#[test]
fn a_guest_that_nobody_listens_to_is_told_so() {
    let bench = Bench::new();
    // The answer's second word is the exit code: mov eax, edi; out 0xf4, eax
    let mut asking = Spans::default().begin(b"a");
    asking.code.extend([0x89, 0xf8, 0xe7, 0xf4]);
    let guest = bench.guest(&asking.image());
    assert_says(&run(&guest, &[]), 0, &["2 exits"]);
    assert_says(&run(&guest, &[&bench.emit("trace", "a.json")]), 1, &["2 exits"]);
    assert_says(&run(&guest, &["--allow=Host"]), 123, &["Span::begin", "--allow Span,"]);
}

#[test]
fn whatever_a_guest_says_of_its_spans_they_nest_and_stay_few() {
    let bench = Bench::new();
    let html = b"</script>\"\\\n\x1b[2J\x00<b>";
    let long = [b'n'; 200];
    let hostile = Spans::default().end(0).end(99).begin(html).begin(&long).end(1).end(1).end(2);
    let hostile = hostile.begin(b"\xff\xfe").begin(b"open").begin(b"").call("begin", 1 << 30, 9);
    let guest = bench.guest(&hostile.image());
    assert_says(
        &run(&guest, &[&bench.emit("trace", "a.json"), &bench.emit("trace", "a.txt")]),
        0,
        &[],
    );
    let events = bench.events("a.json");
    let cut = format!("{}...", "n".repeat(128));
    let html = String::from_utf8_lossy(html);
    // What is no text, and what is not there, is refused; the guest goes on.
    assert_eq!(named(&events, "span"), [&*html, &cut, "open", ""]);
    let open = events.iter().filter(|event| event["args"]["open"] == "never ended").count();
    assert_eq!(open, 2);
    let text = bench.read("a.txt");
    assert!(text.iter().all(|byte| *byte == b'\n' || !byte.is_ascii_control()));

    // mov ebx, 3000; (begin); dec ebx; jnz back
    let mut many = Spans { code: vec![0xbb, 0xb8, 0x0b, 0, 0], ..Spans::default() }.begin(b"many");
    many.code.extend([0xff, 0xcb, 0x75, 0xeb]);
    let guest = bench.guest(&many.image());
    let output = run(&guest, &["--ring=3", &bench.emit("trace", "many.json")]);
    assert_says(&output, 0, &["3001 exits", "1976 were dropped"]);
    assert_eq!(named(&bench.events("many.json"), "span").len(), 1024);
}

#[test]
fn of_many_events_the_last_are_kept_and_the_others_counted() {
    let file = Elf::new(FLOOD).bytes();
    let image = Image::parse(&file).expect("an image");
    let (kvm, trace) = (common::kvm(), Trace::keeping(10));
    let builder = Vm::builder(&kvm, &image).limit(Limit::Exits(1000));
    let builder = builder.serve(StockSpans::heard()).observe(trace.clone());
    builder.build().expect("built").run().expect("runs");
    // 1001 exits, the end, and step 12.
    assert_eq!((trace.count(), trace.dropped()), (10, 993));
    let subject = Subject { name: "a \"guest\"", symbols: None, kind: KvmKind::detect() };
    let mut document = Vec::new();
    trace.write(Format::Events, &subject, &mut document).expect("written");
    let events = checked(&document);
    assert_eq!((named(&events, "guest").len(), named(&events, "step").len()), (8, 12));
    assert!(events.iter().any(|event| event["name"] == "993 events dropped"));
}

#[test]
fn it_is_there_when_the_guest_dies_is_stopped_or_reaches_a_limit() {
    let bench = Bench::new();
    let trace = bench.emit("trace", "a.json");
    let ends = |name: &str| {
        let end = format!("end: {name}");
        assert!(bench.events("a.json").iter().any(|event| event["name"] == *end), "{end}");
    };
    for ring in ["--ring=0", "--ring=3"] {
        assert_says(&run(&bench.guest(&Elf::new(DIES).bytes()), &[ring, &trace]), 139, &[]);
        ends("exception");
        let flood = bench.guest(&Elf::new(FLOOD).bytes());
        assert_says(&run(&flood, &[ring, &trace, "--limit=exits=1000"]), 122, &[]);
        ends("limit-reached");
        let spin = bench.guest(&Elf::new(SPIN).bytes());
        assert_says(&run(&spin, &[ring, &trace, "--timeout=300ms"]), 124, &[]);
        ends("limit-reached");
        let mut child = portcall("run", &spin, &[ring, &trace]).spawn().expect("starts");
        child.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("runs");
        kill(Pid::from_raw(child.id().try_into().expect("a pid")), Signal::SIGINT).expect("sent");
        assert_says(&child.wait_with_output().expect("ends"), 130, &["SIGINT"]);
        ends("stopped");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn it_is_there_when_the_host_fails() {
    let bench = Bench::new();
    let flood = bench.guest(&Elf::new(FLOOD).bytes());
    let mut child = portcall("run", &flood, &[&bench.emit("trace", "a.json")]);
    let mut child = child.spawn().expect("starts");
    // Nobody reads what the guest prints.
    drop(child.stdout.take());
    assert_says(&child.wait_with_output().expect("ends"), 141, &[]);
    let events = bench.events("a.json");
    assert!(named(&events, "host").contains(&"out 0xe9 console"));
}

#[test]
fn a_signal_while_a_reader_keeps_it_waiting_says_what_is_missing() {
    let bench = Bench::new();
    let flood = bench.guest(&Elf::new(FLOOD).bytes());
    let fifo = bench.path("fifo.json");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    // Open, and never read.
    let held = std::fs::File::options().read(true).write(true).open(&fifo).expect("open");
    let options = [&bench.emit("trace", "fifo.json"), "--limit=exits=3000"];
    let mut child = portcall("run", &flood, &options).spawn().expect("starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("more exits than its limit") {
        assert_ne!(stderr.read_line(&mut said).expect("text"), 0, "{said}");
    }
    // From the last line to the write that nobody takes.
    std::thread::sleep(Duration::from_secs(1));
    let pid = Pid::from_raw(child.id().try_into().expect("a pid"));
    assert_eq!(child.try_wait().expect("waits"), None, "it waits for a reader");
    kill(pid, Signal::SIGTERM).expect("sent");
    stderr.read_to_string(&mut said).expect("text");
    assert!(said.contains("cannot write") && said.contains("fifo.json"), "{said}");
    assert_eq!(child.wait().expect("ends").code(), Some(143), "{said}");
    drop(held);
}

#[test]
fn a_place_that_takes_nothing_is_said_and_the_outcome_is_not_lost() {
    let bench = Bench::new();
    let guest = bench.guest(&Elf::new(DIES).bytes());
    let folder = bench.path("folder.json");
    std::fs::create_dir(&folder).expect("made");
    let before = ["cannot create", "folder.json"];
    let output = run(&guest, &[&bench.emit("trace", "folder.json")]);
    assert_says(&output, 125, &before);
    assert!(!stderr(&output).contains("invalid opcode"), "it ran");
    assert_says(&run(&guest, &[&bench.emit("trace", "guest")]), 125, &["what is to be run"]);
    // It was not known before the run; what came of that is said, and stands in the other file.
    let json = bench.emit("json", "outcome");
    let output = run(&guest, &["--emit=trace=/dev/full", &json]);
    assert_says(&output, 125, &["ended as exception", "cannot write /dev/full"]);
    let outcome: Value = serde_json::from_slice(&bench.read("outcome")).expect("JSON");
    assert_eq!(outcome["code"], 139);
    // Text on stdout, behind the guest's.
    let output = run(&guest, &["--emit=trace"]);
    assert_says(&output, 139, &[]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("# guest: times in us\n"));
}
