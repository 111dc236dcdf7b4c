//! Whole runs, recorded and replayed. All of these need KVM.

#[path = "../../tests/common/mod.rs"]
mod common;
mod bench;

use abi::calls::note;
use bench::{Configure, Run, played, recorded, recorded_in};
use calls::{calc, store};
use common::elf::{Elf, NOTE, Ph, data};
use common::kvm;
use portcall::{End, Gpa, Guest, Gva, Image, Limit, Ports, Ring, Vm};
use replay::{Log, State, Verdict, record};
use std::io::{self, Cursor, Write};
use std::time::{Duration, Instant};

/// Records and replays, which must come to the same; in both rings.
fn same(file: &[u8], configure: Configure, drive: fn(&mut Vm)) -> Run {
    let runs = [Ring::Zero, Ring::Three].map(|ring| {
        let (first, log) = recorded_in(ring, file, configure, drive);
        let read = Log::read(Cursor::new(log.clone())).expect("a log");
        assert_eq!((read.state(), read.machine().ring()), (State::Complete(None), ring));
        let (again, verdict) = played(&log, None);
        assert!(matches!(verdict, Verdict::Same), "{verdict:?}: {}", again.outcome.end);
        assert_eq!(again.outcome.end, first.outcome.end);
        assert_eq!(again.outcome.registers, first.outcome.registers);
        assert_eq!(again.outcome.stats, first.outcome.stats);
        assert_eq!(again.outcome.annotations, first.outcome.annotations);
        assert_eq!(again.text, first.text);
        first
    });
    let [_, user] = runs;
    user
}

fn run(vm: &mut Vm) {
    vm.run().expect("runs");
}

/// What two guests that differ come to, the second played by the log of the first.
#[track_caller]
fn diverges(first: &[u8], second: &[u8], configure: Configure, expected: &str, actual: &str) {
    let (_, log) = recorded(first, configure, run);
    says_diverged(&log, second, expected, actual);
}

#[track_caller]
fn says_diverged(log: &[u8], second: &[u8], wanted: &str, found: &str) {
    let (run, verdict) = played(log, Some(second));
    assert!(matches!(verdict, Verdict::Diverged), "{verdict:?}: {}", run.outcome.end);
    let (expected, actual) = (wanted.to_owned(), found.to_owned());
    assert_eq!(run.outcome.end, End::Diverged { expected, actual });
}

fn elf(code: &[u8]) -> Vec<u8> {
    Elf::new(code).bytes()
}

/// The code with one piece of it in place of another.
fn replaced(code: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = code.windows(from.len()).position(|it| it == from).expect("it is there");
    [&code[..at], to, &code[at + from.len()..]].concat()
}

/// Does everything that a handler can do to its guest.
struct Busy(u32);

impl Ports for Busy {
    fn write(&mut self, guest: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
        if value == 0xff {
            return Err(End::HandlerFailed { message: "had enough".to_owned() });
        }
        guest.memory().write(Gpa(0x8000), &value.to_le_bytes()).expect("RAM");
        guest.memory().store_u64(Gpa(0x8010), 0x1122_3344_5566_7788).expect("RAM");
        guest.print(format!("[{value}]"));
        guest.annotate("value", &value.to_string());
        Ok(())
    }

    fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
        self.0 += 41;
        Ok(self.0)
    }
}

#[test]
fn what_a_handler_does_is_done_again_without_it() {
    let code = code!(busy:
        "mov al, 'a'" "out 0xe9, al"
        "mov dx, 0x300" "mov al, 5" "out dx, al"
        "mov ebx, [0x8000]" "mov rsi, [0x8010]"
        "in eax, dx" "out 0x41, eax" "in al, dx" "mov r8d, eax"
        "in al, 0xea" "mov r9d, eax" "in eax, 0xea" "mov r10d, eax" "in eax, 0xea" "mov r11d, eax"
        "mov edi, 0x9000" "mov ecx, 3" "cld" "rep insb" "mov r12d, [0x9000]"
        "mov al, 0xff" "out dx, al" "hlt"
    );
    let configure: Configure = |builder| builder.ports(0x300..=0x300, Busy(0)).input(&b"xy"[..]);
    let first = same(&elf(code), configure, run);
    assert!(matches!(first.outcome.end, End::HandlerFailed { .. }));
    assert_eq!(first.text, b"a[5]");
    let r = first.outcome.registers;
    assert_eq!((r.rbx, r.rsi), (5, 0x1122_3344_5566_7788));
    assert_eq!((r.r9 & 0xff, r.r10, r.r11), (u64::from(b'x'), u64::from(b'y'), 0xffff_ffff));
    assert_eq!(r.r12, u64::from_le_bytes([123, 164, 205, 0, 0, 0, 0, 0]));
}

#[test]
fn what_the_host_does_between_runs_is_done_again() {
    let code = code!(between: "mov ebx, [0x8008]" "hlt" "mov eax, [0x8000]" "out 0x40, eax" "hlt");
    // HLT is no end to go on from in ring 3.
    let (first, log) = recorded(
        &elf(code),
        |builder| builder,
        |vm| {
            vm.memory().store_u64(Gpa(0x8008), 6).expect("RAM");
            run(vm);
            vm.memory().store_u64(Gpa(0x8000), 7).expect("RAM");
            run(vm);
        },
    );
    let (again, verdict) = played(&log, None);
    assert!(matches!(verdict, Verdict::Same), "{verdict:?}");
    assert_eq!(again.outcome.registers, first.outcome.registers);
    assert_eq!((again.outcome.registers.rax, again.outcome.registers.rbx), (7, 6));
    assert_eq!(again.outcome.stats.exits(), 3);
}

/// Keeps one value.
#[derive(Default)]
struct One(Vec<u8>);

impl store::Store for One {
    fn put(&mut self, _: &str, value: &[u8]) -> u64 {
        self.0 = value.to_vec();
        1
    }

    fn get(&mut self, _: &str) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn read(&mut self, _: &str, into: &mut [u8]) -> Option<u64> {
        into[..self.0.len()].copy_from_slice(&self.0);
        Some(self.0.len() as u64)
    }

    fn remove(&mut self, _: &str) -> bool {
        false
    }
}

/// A guest with an interface's note, of a type.
macro_rules! noted {
    ($code:expr, $interface:expr, $kind:expr) => {{
        const TEXT: [u8; note::size(&$interface)] = note::bytes(&$interface);
        const BYTES: [u8; abi::note::size(TEXT.len())] = abi::note::to_bytes($kind, &TEXT);
        let header = Ph { kind: NOTE, align: 4, ..data(0x20_0000, BYTES.len() as u64) };
        Elf::new($code).with(header, &BYTES).bytes()
    }};
}

/// Stores xyz under a, reads it into 0x9000, and writes it to a port.
fn store_guest() -> Vec<u8> {
    let code = code!(typed:
        "lea rdi, [rip + 5f]" "mov esi, 1" "lea rdx, [rip + 6f]" "mov ecx, 3"
        "mov eax, 0x11223344" "out 0xf7, eax" "mov ebx, eax"
        "lea rdi, [rip + 5f]" "mov esi, 1" "mov edx, 0x9000" "mov ecx, 8"
        "mov eax, 0x11223355" "out 0xf7, eax" "mov r9, rdi"
        "mov eax, [0x9000]" "out 0x40, eax" "hlt"
        "5: .byte 'a'" "6: .ascii \"xyz\""
    );
    let put = store::INTERFACE.number(0).to_le_bytes();
    let read = store::INTERFACE.number(2).to_le_bytes();
    let code = replaced(code, &0x1122_3344_u32.to_le_bytes(), &put);
    replaced(&code, &0x1122_3355_u32.to_le_bytes(), &read)
}

#[test]
fn typed_calls_are_answered_by_the_log_and_compared_with_it() {
    let serve: Configure = |builder| builder.serve(store::Server(One::default()));
    let code = store_guest();
    let file = |code: &[u8]| noted!(code, store::INTERFACE, abi::note::TYPE_CALLS);
    let first = same(&file(&code), serve, run);
    assert_eq!(first.outcome.registers.rbx, 1);
    assert_eq!(first.outcome.registers.r9, 3);
    assert_eq!(first.outcome.registers.rax, u64::from(u32::from_le_bytes(*b"xyz\0")));

    let put = |value| format!("Store::put(key: \"a\", value: 3 bytes 78 79 {value})");
    let other = replaced(&code, b"xyz", b"xyw");
    diverges(&file(&code), &file(&other), serve, &put("7a"), &put("77"));
    // Another call, and one with another word.
    let remove = store::INTERFACE.number(3).to_le_bytes();
    let other = replaced(&code, &store::INTERFACE.number(0).to_le_bytes(), &remove);
    diverges(&file(&code), &file(&other), serve, &put("7a"), "Store::remove(key: \"a\")");
    let other = replaced(&code, &[0xb9, 8, 0, 0, 0], &[0xb9, 4, 0, 0, 0]);
    let read = |room| format!("Store::read(key: \"a\", into: {room} bytes to fill)");
    diverges(&file(&code), &file(&other), serve, &read(8), &read(4));
    // A call that nobody serves ends a replay as it ended the run.
    let refused = same(&file(&code), |builder| builder, run);
    assert!(matches!(refused.outcome.end, End::CallRefused { .. }));
}

#[test]
fn calls_into_the_guest_are_made_again_and_their_results_compared() {
    // RDI is the boot information, its word 12 the mailbox: two arguments, whose sum and no
    // more is the answer.
    let code = code!(serves:
        "mov rbx, [rdi + 96]" "xor eax, eax" "2: out 0xf8, eax"
        "mov rcx, [rbx + 8]" "add rcx, [rbx + 16]" "add rcx, 0x44" "mov [rbx + 8], rcx"
        "jmp 2b"
    );
    let file = |more: u8| {
        let code = replaced(code, &[0x48, 0x83, 0xc1, 0x44], &[0x48, 0x83, 0xc1, more]);
        noted!(&code, calc::INTERFACE, abi::note::TYPE_SERVES)
    };
    let ask = |vm: &mut Vm| {
        assert_eq!(calc::Client(vm.door()).add(2, 3).expect("answers"), 5);
        assert_eq!(calc::Client(vm.door()).add(40, 2).expect("answers"), 42);
    };
    let first = same(&file(0), |builder| builder, ask);
    assert_eq!(first.outcome.end, End::Serving);
    assert_eq!(first.outcome.stats.exits(), 3);
    let (_, log) = recorded(&file(0), |builder| builder, ask);
    let (run, verdict) = played(&log, Some(&file(1)));
    assert!(matches!(verdict, Verdict::Diverged), "{verdict:?}");
    let text = run.outcome.end.to_string();
    assert!(text.contains("expected 8 bytes 05 00"), "{text}");
    assert!(text.contains("but it was 8 bytes 06 00"), "{text}");
    assert_eq!(run.outcome.stats.exits(), 2);
}

#[test]
fn whatever_a_guest_does_otherwise_is_named() {
    let nothing: Configure = |builder| builder;
    let one = |code: &[u8]| elf(code);
    // mov al, 1 (or 2); out 0x40, al; hlt
    let (a, b) = ([0xb0, 1, 0xe6, 0x40, 0xf4], [0xb0, 2, 0xe6, 0x40, 0xf4]);
    let out = |value: &str| format!("out port 0x40, 1 byte: {value}");
    diverges(&one(&a), &one(&b), nothing, &out("0x1"), &out("0x2"));
    diverges(&one(&a), &one(&[0xf4]), nothing, &out("0x1"), "hlt");
    diverges(&one(&[0xf4]), &one(&a), nothing, "hlt", &out("0x1"));
    // in eax, 0x40; in al, 0x40
    let input = |bytes: &str| format!("in port 0x40, {bytes}");
    let (a, b) = ([0xe5, 0x40, 0xf4], [0xe4, 0x40, 0xf4]);
    diverges(&one(&a), &one(&b), nothing, &input("4 bytes"), &input("1 byte"));
    // ud2; xor eax, eax and div eax
    let (a, b) = (one(&[0x0f, 0x0b]), one(&[0x31, 0xc0, 0xf7, 0xf0]));
    let (_, log) = recorded(&a, nothing, run);
    let (run, _) = played(&log, Some(&b));
    let text = run.outcome.end.to_string();
    assert!(text.contains("expected invalid opcode"), "{text}");
    assert!(text.contains("but it was divide error"), "{text}");
}

#[test]
fn text_is_compared_at_every_exit() {
    // RDI is the boot information, its word 5 the console window.
    let code = code!(text:
        "mov rbx, [rdi + 40]" "mov byte ptr [rbx + 64], 'w'" "mov qword ptr [rbx], 1"
        "out 0x40, al" "hlt"
    );
    let other = replaced(code, b"\x40w", b"\x40v");
    let (wanted, same_size) = ("1 byte of text by then", "as many, but not the same");
    diverges(&elf(code), &elf(&other), |builder| builder, wanted, same_size);
    let silent = replaced(code, &[0x48, 0xc7, 0x03, 1], &[0x48, 0xc7, 0x03, 0]);
    let none = "0 bytes of text by then";
    diverges(&elf(code), &elf(&silent), |builder| builder, wanted, none);
}

#[test]
fn what_a_handler_reads_is_compared() {
    struct Reads;
    impl Ports for Reads {
        fn write(&mut self, guest: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
            let mut bytes = [0; 3];
            assert!(guest.read_virtual(Gva(value.into()), &mut bytes)?);
            Ok(())
        }
    }
    let code = code!(reads: "lea eax, [rip + 2f]" "out 0x50, eax" "hlt" "2: .ascii \"abc\"");
    let other = replaced(code, b"abc", b"abd");
    let reads: Configure = |builder| builder.ports(0x50..=0x50, Reads);
    let (_, log) = recorded(&elf(code), reads, run);
    let (run, verdict) = played(&log, Some(&elf(&other)));
    assert!(matches!(verdict, Verdict::Diverged), "{verdict:?}");
    let text = run.outcome.end.to_string();
    assert!(text.contains("with 3 bytes 61 62 63 at guest-physical 0x1000"), "{text}");
    assert!(text.contains("with 3 bytes 61 62 64 at"), "{text}");
}

#[test]
fn a_run_that_went_beyond_a_limit_does_so_again_without_one() {
    // Text through the window and the port, and an exit code.
    let code = code!(prints_much:
        "mov rsi, [rdi + 40]" "mov dword ptr [rsi + 64], 0x64636261" "mov qword ptr [rsi], 4"
        "out 0x80, al" "mov al, 101" "out 0xe9, al" "out 0xe9, al" "mov al, 7" "out 0xf4, al"
    );
    let limits: [Configure; 6] = [
        |builder| builder.limit(Limit::Exits(0)),
        |builder| builder.limit(Limit::Exits(3)),
        |builder| builder.limit(Limit::Console(3)),
        |builder| builder.limit(Limit::Console(4)),
        |builder| builder.limit(Limit::Console(5)),
        |builder| builder.limit(Limit::Calls(0)),
    ];
    for (limit, exits) in limits.into_iter().zip([1, 4, 1, 2, 3, 4]) {
        let (first, log) = recorded(&elf(code), limit, run);
        assert_eq!(first.outcome.stats.exits(), exits);
        let (again, verdict) = played(&log, None);
        assert!(matches!(verdict, Verdict::Same), "{verdict:?}: {}", again.outcome.end);
        assert_eq!((again.outcome.end, again.text), (first.outcome.end, first.text));
    }
    // A limit on what the guest prints right before it ends.
    let code = code!(prints_last:
        "mov rsi, [rdi + 40]" "mov dword ptr [rsi + 64], 0x64636261" "mov qword ptr [rsi], 4" "hlt"
    );
    let (first, log) = recorded(&elf(code), |builder| builder.limit(Limit::Console(3)), run);
    assert_eq!(first.outcome.end, End::LimitReached(Limit::Console(3)));
    let (again, verdict) = played(&log, None);
    assert!(matches!(verdict, Verdict::Same), "{verdict:?}: {}", again.outcome.end);
    assert_eq!((again.outcome.end, again.text), (first.outcome.end, b"abc".to_vec()));
}

#[test]
fn a_run_that_was_ended_from_outside_ends_so_again_and_does_not_wait() {
    // mov al, 'x'; out 0xe9, al; then on the spot for ever
    let spin = elf(&[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfe]);
    let limit: Configure = |builder| builder.limit(Limit::Time(Duration::from_millis(700)));
    let (first, log) = recorded(&spin, limit, run);
    let start = Instant::now();
    let (again, verdict) = played(&log, None);
    assert!(matches!(verdict, Verdict::Same), "{verdict:?}");
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert!(matches!(again.outcome.end, End::LimitReached(_)));
    assert_eq!((again.outcome.end, again.text), (first.outcome.end, first.text));
    // One that prints without an exit until it is stopped: a replay prints as much.
    let code = code!(prints:
        "mov rbx, [rdi + 40]" "xor ecx, ecx"
        "2: inc rcx" "mov [rbx], rcx" "cmp rcx, 500" "jb 2b" "3: jmp 3b"
    );
    let (first, log) = recorded(&elf(code), limit, |vm| {
        vm.stopper().stop();
        run(vm);
    });
    assert_eq!((first.outcome.end, first.text.len()), (End::Stopped, 0));
    let (again, verdict) = played(&log, None);
    assert!(matches!(verdict, Verdict::Same), "{verdict:?}");
    assert_eq!((again.outcome.end, again.text.len()), (End::Stopped, 0));
    let first = recorded(&elf(code), limit, run);
    assert_eq!(first.0.text.len(), 500);
    assert_eq!(played(&first.1, None).0.text.len(), 500);
}

#[test]
fn a_log_that_was_cut_short_is_replayed_up_to_there() {
    // in al, 0xea; out 0x40, al; eight times; hlt
    let code = [[0xe4, 0xea, 0xe6, 0x40].repeat(8), vec![0xf4]].concat();
    let (_, log) = recorded(&elf(&code), |builder| builder.input(&b"01234567"[..]), run);
    let mut stopped = Vec::new();
    for size in (0..log.len()).rev().step_by(7).take(40) {
        let Ok(cut) = Log::read(Cursor::new(log[..size].to_vec())) else { break };
        let exits = cut.exits();
        let (run, verdict) = played(&log[..size], None);
        match verdict {
            Verdict::Cut => assert_eq!(run.outcome.end, End::Stopped),
            Verdict::Same => assert_eq!(exits, 17),
            other => panic!("{other:?}: {}", run.outcome.end),
        }
        stopped.push((exits, run.outcome.stats.exits()));
    }
    assert!(stopped.iter().all(|(there, made)| *made == there + 1 || *there == 17), "{stopped:?}");
    assert!(stopped.iter().any(|(there, _)| *there < 10), "{stopped:?}");
}

#[test]
fn a_log_that_cannot_be_written_is_said_and_the_run_goes_on() {
    /// Has room for so many bytes.
    struct Room(usize);
    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let now = bytes.len().min(self.0);
            self.0 -= now;
            if now == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(now) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let file = elf(&[0xb8, 42, 0, 0, 0, 0xf4]);
    for room in [0, 10, file.len(), file.len() + 40] {
        let (kvm, image) = (kvm(), Image::parse(&file).expect("an image"));
        let (recorder, recording) = record(Room(room), &file);
        let mut vm = Vm::builder(&kvm, &image).tape(recorder).build().expect("builds");
        let outcome = vm.run().expect("runs");
        assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 42));
        let error = recording.finish(None).expect_err("there is no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room}");
    }
}
