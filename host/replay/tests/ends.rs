//! Runs that a host goes on with, or ends, while their guest waits or prints. All need KVM.

mod bench;
#[path = "../../tests/common/mod.rs"]
mod common;

use abi::calls::note;
use bench::{Configure, Run, played, recorded};
use calls::calc;
use common::elf::{Elf, NOTE, Ph, data};
use portcall::layout::MIB;
use portcall::{CallError, End, Gpa, Limit, Vm};
use replay::Verdict;
use std::time::Duration;

const NOTHING: Configure = |builder| builder;

/// An image that serves Calc.
fn serving(code: &[u8]) -> Vec<u8> {
    const TEXT: [u8; note::size(&calc::INTERFACE)] = note::bytes(&calc::INTERFACE);
    const BYTES: [u8; abi::note::size(TEXT.len())] =
        abi::note::to_bytes(abi::note::TYPE_SERVES, &TEXT);
    let header = Ph { kind: NOTE, align: 4, ..data(0x20_0000, BYTES.len() as u64) };
    Elf::new(code).with(header, &BYTES).bytes()
}

#[track_caller]
fn same(file: &[u8], configure: Configure, drive: impl FnOnce(&mut Vm)) -> Run {
    let (first, log) = recorded(file, configure, drive);
    let (again, verdict) = played(&log, None);
    assert!(matches!(verdict, Verdict::Same), "{verdict:?}: {}", again.outcome.end);
    assert_eq!((&again.outcome.end, &again.text), (&first.outcome.end, &first.text));
    first
}

#[test]
fn a_guest_sees_room_in_its_window_where_the_host_went_on_from_an_end() {
    // Prints 30000 bytes a call, and asks for room where there is none.
    let code = code!(prints_much:
        "mov rsi, [rdi + 40]" "mov rbx, [rdi + 96]" "2: out 0xf8, eax"
        "mov rcx, [rsi]" "add rcx, 30000" "mov rdx, rcx" "sub rdx, [rsi + 8]" "cmp rdx, 65536"
        "jbe 3f" "out 0xe8, al" "3: mov [rsi], rcx"
        "mov rcx, [rbx + 8]" "add rcx, [rbx + 16]" "mov [rbx + 8], rcx" "xor eax, eax" "jmp 2b"
    );
    let first = same(&serving(code), NOTHING, |vm| {
        for i in 0..5 {
            assert_eq!(calc::Client(vm.door()).add(i, 3).expect("answers"), i + 3);
        }
    });
    assert_eq!((first.text.len(), first.outcome.stats.exits()), (150_000, 6));
    // The same by HLT.
    let code = code!(prints_and_halts:
        "mov rsi, [rdi + 40]" "2: hlt"
        "mov rcx, [rsi]" "add rcx, 30000" "mov rdx, rcx" "sub rdx, [rsi + 8]" "cmp rdx, 65536"
        "jbe 3f" "out 0xe8, al" "3: mov [rsi], rcx" "jmp 2b"
    );
    let first = same(&Elf::new(code).bytes(), NOTHING, |vm| {
        for _ in 0..6 {
            assert_eq!(vm.run().expect("runs").end, End::Halted);
        }
    });
    assert_eq!((first.text.len(), first.outcome.stats.exits()), (150_000, 6));
}

#[test]
fn a_call_that_a_limit_ended_is_made_again_up_to_there() {
    // Waits; then prints three bytes without an exit, and goes on on the spot.
    let code = code!(never_answers:
        "mov rsi, [rdi + 40]" "xor eax, eax" "out 0xf8, eax"
        "mov dword ptr [rsi + 64], 0x00636261" "mov qword ptr [rsi], 3" "3: jmp 3b"
    );
    let first = same(&serving(code), NOTHING, |vm| {
        let door = vm.door().within(Duration::from_millis(300));
        let error = calc::Client(door).add(2, 3).expect_err("it does not answer");
        assert!(matches!(error, CallError::Ended(End::LimitReached(_))), "{error}");
    });
    assert_eq!(first.text, b"abc");
    // Stopped while it halts.
    let code = code!(halts: "mov rsi, [rdi + 40]" "hlt" "3: inc qword ptr [rsi]" "jmp 3b");
    let first = same(&Elf::new(code).bytes(), NOTHING, |vm| {
        assert_eq!(vm.run().expect("runs").end, End::Halted);
        vm.stopper().stop();
        assert_eq!(vm.run().expect("runs").end, End::Stopped);
    });
    assert_eq!(first.text, b"");
}

#[test]
fn text_is_compared_where_a_run_was_ended_from_outside() {
    let limit: Configure = |builder| builder.limit(Limit::Time(Duration::from_millis(300)));
    let code = code!(prints_and_spins:
        "mov rsi, [rdi + 40]" "mov dword ptr [rsi + 64], 0x64636261" "mov qword ptr [rsi], 4"
        "3: jmp 3b"
    );
    let file = |code: &[u8]| Elf::new(code).bytes();
    let (_, log) = recorded(&file(code), limit, |vm| {
        vm.run().expect("runs");
    });
    let diverges = |from: &[u8], to: &[u8], words: &str| {
        let at = code.windows(from.len()).position(|it| it == from).expect("it is there");
        let other = [&code[..at], to, &code[at + from.len()..]].concat();
        let (run, verdict) = played(&log, Some(&file(&other)));
        assert!(matches!(verdict, Verdict::Diverged), "{verdict:?}: {}", run.outcome.end);
        let End::Diverged { expected, actual } = run.outcome.end else {
            panic!("{}", run.outcome.end)
        };
        assert_eq!((&*expected, &*actual), ("4 bytes of text by then", words));
    };
    diverges(b"abcd", b"abxd", "as many, but not the same");
    // More of it, of which the start is another.
    let more = |count: u8| [0x48, 0xc7, 0x06, count, 0, 0, 0];
    let both = |count: u8| [b"abcd".as_slice(), &more(count)].concat();
    assert!(code.windows(11).any(|it| it == both(4)));
    diverges(&both(4), &[b"axcd".as_slice(), &more(9)].concat(), "as many, but not the same");
    // Less, and then an exit: hlt in place of the jump.
    let less = |count: u8, end: [u8; 2]| [more(count).as_slice(), &end].concat();
    diverges(&less(4, [0xeb, 0xfe]), &less(2, [0xf4, 0xf4]), "2 bytes of text by then");
    // More of the same text is what a replay that ends a little later prints.
    let (run, verdict) = played(&log, None);
    assert!(matches!(verdict, Verdict::Same), "{verdict:?}: {}", run.outcome.end);
    assert_eq!(run.text, b"abcd");
}

#[test]
fn a_host_may_put_more_into_its_guest_than_one_entry_has() {
    let roomy: Configure = |builder| builder.memory(32 * MIB);
    let code = code!(reads_it: "hlt" "mov eax, [0x1000000]" "out 0x40, eax" "hlt");
    let first = same(&Elf::new(code).bytes(), roomy, |vm| {
        assert_eq!(vm.run().expect("runs").end, End::Halted);
        let much: Vec<u8> = (0..24 * MIB).map(|i| (i >> 16).to_le_bytes()[0]).collect();
        vm.memory().write(Gpa(4 * MIB), &much).expect("RAM");
        assert_eq!(vm.run().expect("runs").end, End::Halted);
    });
    assert_eq!(first.outcome.registers.rax, 0xc0c0_c0c0);
}
