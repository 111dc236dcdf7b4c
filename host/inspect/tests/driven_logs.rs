//! Runs that are recorded and replayed while they are driven: what drives them is no part of what the
//! guest got, so that the log is the same byte for byte, and a replay goes the same under any of them.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::elf::Elf;
use common::kvm;
use iced_x86::{Decoder, DecoderOptions};
use inspect::drive::{self, Drive, Driver, Pace, Scene, Turn};
use portcall::layout::MIB;
use portcall::{Builder, Capture, End, Error, Gva, Image, Limit, Outcome, Ring, Vm};
use replay::{Log, Verdict, record};
use std::fmt::Write;
use std::io::Cursor;
use std::time::Duration;

const RINGS: [Ring; 2] = [Ring::Zero, Ring::Three];

/// Where the code stands.
const ENTRY: u64 = 0x10_0000;

/// Who drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wheel {
    /// Nobody.
    None,
    /// Breakpoints everywhere that are taken away when they are reached, as a coverage has them.
    Once,
    /// Breakpoints everywhere that stay, as a debugger has them.
    Stays,
    /// Ticks, as a profiler has them.
    Ticks,
    /// One instruction after the other.
    Steps,
    /// A debugger's session: a breakpoint, two steps, and on to the end.
    Session,
}

const WHEELS: [Wheel; 6] =
    [Wheel::None, Wheel::Once, Wheel::Stays, Wheel::Ticks, Wheel::Steps, Wheel::Session];

/// Breakpoints at all of these places.
struct Everywhere {
    places: Vec<Gva>,
    once: bool,
}

impl Driver for Everywhere {
    fn begin(&mut self, scene: &mut Scene<'_>) -> Result<(), Error> {
        assert_eq!(scene.insert_all(self.places.iter().copied()), None);
        Ok(())
    }

    fn reached(&mut self, scene: &mut Scene<'_>, at: Gva) -> Result<(), Error> {
        assert!(!self.once || scene.remove(at));
        Ok(())
    }
}

/// Is told, and does nothing.
struct Idle;

impl Driver for Idle {}

impl Wheel {
    fn configure(self, builder: Builder<'_>) -> Builder<'_> {
        if self == Self::Ticks { builder.tick(Duration::from_millis(1)) } else { builder }
    }

    /// To the end, by the places at which the code has instructions.
    fn run(self, vm: &mut Vm, places: &[Gva]) -> Result<Outcome, Error> {
        let mut everywhere = Everywhere { places: places.to_vec(), once: self == Self::Once };
        match self {
            Self::None => vm.run(),
            Self::Once | Self::Stays => drive::run(vm, vec![&mut everywhere]),
            Self::Ticks => drive::run(vm, vec![&mut Idle]),
            Self::Steps => {
                let mut drive = Drive::new(vm, vec![]);
                while !matches!(drive.turn(Pace::Step)?, Turn::End(_)) {}
                drive.run()
            }
            Self::Session => {
                let mut drive = Drive::new(vm, vec![]);
                drive.scene().insert(places[1]).expect("it is mapped");
                while drive.turn(Pace::Run)? != Turn::Breakpoint(places[1]) {}
                for _ in 0..2 {
                    drive.turn(Pace::Step)?;
                }
                drive.run()
            }
        }
    }
}

fn instructions(code: &[u8]) -> Vec<Gva> {
    Decoder::with_ip(64, code, ENTRY, DecoderOptions::NONE).iter().map(|it| Gva(it.ip())).collect()
}

/// What a run came to, as far as it is the guest's; and the log.
fn recorded(wheel: Wheel, ring: Ring, code: &[u8]) -> (String, Vec<u8>) {
    let file = Elf::new(code).bytes();
    let (kvm, image) = (kvm(), Image::parse(&file).expect("an image"));
    let (log, text) = (Capture::new(), Capture::new());
    let (recorder, recording) = record(log.clone(), &file);
    let builder = Vm::builder(&kvm, &image).memory(4 * MIB).ring(ring).console(text.clone());
    let mut vm = wheel.configure(builder).tape(recorder).build().expect("builds");
    let outcome = wheel.run(&mut vm, &instructions(code)).expect("the host is well");
    recording.finish(None).expect("memory takes it");
    (told(&outcome, &text), log.bytes())
}

fn replayed(wheel: Wheel, code: &[u8], log: &[u8]) -> (String, Verdict) {
    let log = Log::read(Cursor::new(log.to_vec())).expect("a log");
    let file = log.image().to_vec();
    let (kvm, image) = (kvm(), Image::parse(&file).expect("an image"));
    let text = Capture::new();
    let builder = log.machine().apply(Vm::builder(&kvm, &image)).console(log.console(text.clone()));
    let (player, found) = log.play(&image).expect("reads again");
    let mut vm = wheel.configure(builder).tape(player).build().expect("builds");
    let outcome = wheel.run(&mut vm, &instructions(code)).expect("the host is well");
    (told(&outcome, &text), found.get())
}

fn told(outcome: &Outcome, text: &Capture) -> String {
    let (end, stats) = (&outcome.end, &outcome.stats);
    format!("{end:?}, {} exits, {:?}, {:?}", stats.exits(), outcome.registers, text.bytes())
}

/// In both rings and under all: the same run, the same log, the same replay.
#[track_caller]
fn is_the_same_under_all(code: &[u8]) {
    let mut wrong = String::new();
    for ring in RINGS {
        let (plain, plain_log) = recorded(Wheel::None, ring, code);
        for wheel in WHEELS {
            let (run, log) = recorded(wheel, ring, code);
            if run != plain {
                let _ = write!(wrong, "\n{ring:?}, run under {wheel:?}:\n  {run}\n  not {plain}");
            }
            if log != plain_log {
                let _ = write!(wrong, "\n{ring:?}, {wheel:?}: it is in the log");
            }
            let (again, verdict) = replayed(Wheel::None, code, &log);
            if !matches!(verdict, Verdict::Same) || again != plain {
                let _ = write!(wrong, "\n{ring:?}, recorded under {wheel:?}: {verdict:?}, {again}");
            }
            let (again, verdict) = replayed(wheel, code, &plain_log);
            if !matches!(verdict, Verdict::Same) || again != plain {
                let _ = write!(wrong, "\n{ring:?}, replayed under {wheel:?}: {verdict:?}, {again}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_exit_of_the_guests_own() {
    is_the_same_under_all(
        code!(exits: "mov eax, 7" "in al, 0x30" "nop" "out 0xe9, al" "out 0xf4, al"),
    );
}

#[test]
fn an_invalid_opcode() {
    is_the_same_under_all(
        code!(invalid: "mov eax, 7" "push 5" "out 0x30, al" "pop rcx" "ud2" "nop"),
    );
}

#[test]
fn a_page_fault() {
    is_the_same_under_all(
        code!(faults: "mov eax, 7" "out 0x30, al" "xor ecx, ecx" "nop" "mov eax, [rcx]"),
    );
}

#[test]
fn a_divide_error() {
    is_the_same_under_all(code!(divides: "mov eax, 7" "stc" "xor ecx, ecx" "cdq" "div ecx" "nop"));
}

#[test]
fn a_breakpoint_of_the_guests_own() {
    is_the_same_under_all(code!(breaks: "mov eax, 7" "push 5" "nop" "nop" "int3" "nop"));
}

#[test]
fn an_instruction_that_is_only_the_guests_to_fail_at() {
    // Ring 0 of some KVMs is emulated, and they say which bytes they could not.
    is_the_same_under_all(
        code!(unemulated: "mov eax, 7" "nop" "popcnt ecx, eax" "nop" "nop" "out 0xf4, al"),
    );
}

#[test]
fn an_idt_of_the_guests_own() {
    // Its gates for #BP and #UD lead behind the UD2; ring 3 does not come so far.
    is_the_same_under_all(code!(own_idt:
        "lea rax, [rip + 7f]" "sub rsp, 4096" "mov rbx, rsp" "mov rdx, rax" "shr rdx, 16"
        "mov [rbx + 96], ax" "mov word ptr [rbx + 98], 0x10" "mov word ptr [rbx + 100], 0x8e00"
        "mov [rbx + 102], dx" "mov qword ptr [rbx + 104], 0"
        "mov word ptr [rbx - 10], 0xfff" "mov [rbx - 8], rbx" "sub rsp, 64"
        "lidt [rbx - 10]" "nop" "ud2" "7: pop rcx" "mov eax, 9" "out 0xf4, al"
    ));
}

#[test]
fn an_end_that_makes_many_exits_and_traps_before() {
    is_the_same_under_all(code!(many:
        "mov ecx, 5" "2: mov eax, ecx" "out 0x30, al" "in al, 0x31" "pushfq" "pop rax" "dec ecx"
        "jnz 2b" "call rcx" "nop"
    ));
}

#[test]
fn a_limit_of_exits_counts_those_of_the_guests() {
    let code = code!(forever: "2: out 0x30, al" "nop" "nop" "jmp 2b");
    let file = Elf::new(code).bytes();
    let (kvm, image) = (kvm(), Image::parse(&file).expect("an image"));
    for ring in RINGS {
        for wheel in WHEELS {
            let builder = Vm::builder(&kvm, &image).memory(4 * MIB).ring(ring);
            let builder = wheel.configure(builder).limit(Limit::Exits(4));
            let mut vm = builder.build().expect("builds");
            let outcome = wheel.run(&mut vm, &instructions(code)).expect("the host is well");
            let end = End::LimitReached(Limit::Exits(4));
            assert_eq!(outcome.end, end, "{ring:?}, {wheel:?}");
        }
    }
}
