//! What a run may use at most: exits, text, calls. All of these need KVM; limits of time are with
//! the other ends from outside.

mod common;

use common::kvm;
use portcall::exit::ExitKind;
use portcall::{Capture, End, Image, Limit, Outcome, Vm};

fn run(code: &[u8], limit: Limit) -> (Outcome, String) {
    let image = Image::flat(code).expect("code");
    let text = Capture::new();
    let builder = Vm::builder(&kvm(), &image).limit(limit).console(text.clone()).build();
    let mut vm = builder.expect("builds");
    let outcome = vm.run().expect("runs");
    let again = vm.run().expect("runs").end;
    // HLT is the one end behind which a guest goes on.
    assert!(outcome.end == End::Halted || again == outcome.end, "{again}");
    (outcome, text.text())
}

/// Three exits and HLT.
fn exits() -> &'static [u8] {
    code!(four_exits: "out 0x80, al" "in al, 0x80" "out 0x80, al" "hlt")
}

#[test]
fn as_many_exits_as_allowed_are_no_end_and_one_more_is() {
    let (outcome, _) = run(exits(), Limit::Exits(4));
    assert_eq!((outcome.end, outcome.stats.exits()), (End::Halted, 4));
    for most in 0..4 {
        let (outcome, _) = run(exits(), Limit::Exits(most));
        assert_eq!(outcome.end, End::LimitReached(Limit::Exits(most)));
        // The one too many was made, and not answered.
        assert_eq!(outcome.stats.exits(), most + 1);
        let accesses = outcome.stats.exits_of(ExitKind::Out) + outcome.stats.exits_of(ExitKind::In);
        assert_eq!(accesses, 3.min(most + 1));
        assert_eq!(outcome.stats.unanswered.get(&0x80).map_or(0, |it| it.0 + it.1), most.min(3));
    }
}

#[test]
fn ticks_are_not_counted_as_exits() {
    let code = code!(works_on: "mov ecx, 60000" "2: dec ecx" "jnz 2b" "hlt");
    let image = Image::flat(code).expect("code");
    let tick = std::time::Duration::from_millis(1);
    let vm = Vm::builder(&kvm(), &image).limit(Limit::Exits(1)).tick(tick).build();
    assert_eq!(vm.expect("builds").run().expect("runs").end, End::Halted);
}

/// Five bytes through the port, and HLT.
fn by_port() -> &'static [u8] {
    code!(prints_by_port: "mov al, 97" "out 0xe9, al" "out 0xe9, al"
    "out 0xe9, al" "out 0xe9, al" "out 0xe9, al" "hlt")
}

/// Five bytes through the window, without an exit, and HLT.
fn by_window() -> &'static [u8] {
    code!(prints_by_window: "mov rsi, [rdi + 40]"
    "mov dword ptr [rsi + 64], 0x61616161" "mov byte ptr [rsi + 68], 97" "mov qword ptr [rsi], 5"
    "hlt")
}

#[test]
fn text_up_to_the_limit_is_handed_on_and_more_is_an_end() {
    for code in [by_port(), by_window()] {
        let (outcome, text) = run(code, Limit::Console(5));
        assert_eq!((outcome.end, &*text), (End::Halted, "aaaaa"));
        for most in 0..5 {
            let (outcome, text) = run(code, Limit::Console(most));
            assert_eq!(outcome.end, End::LimitReached(Limit::Console(most)));
            assert_eq!(text.len() as u64, most);
            assert_eq!((outcome.stats.console_bytes, outcome.stats.console_lost), (most, 0));
        }
    }
}

#[test]
fn a_guest_that_prints_without_an_exit_for_ever_comes_to_its_limit() {
    let code = code!(prints_on: "mov rsi, [rdi + 40]" "2: add qword ptr [rsi], 256" "jmp 2b");
    let (outcome, text) = run(code, Limit::Console(100_000));
    assert_eq!(outcome.end, End::LimitReached(Limit::Console(100_000)));
    assert_eq!(text.len(), 100_000);
}

#[test]
fn a_call_too_many_is_not_answered() {
    // A call that nobody serves is refused, and so an end: of two, the second one is never made.
    let code = code!(calls: "mov eax, 0x12345600" "out 0xf7, eax" "hlt");
    let (outcome, _) = run(code, Limit::Calls(0));
    assert_eq!(outcome.end, End::LimitReached(Limit::Calls(0)));
    assert_eq!(outcome.stats.calls, 1);
    let (outcome, _) = run(code, Limit::Calls(1));
    assert!(matches!(outcome.end, End::CallRefused { .. }), "{}", outcome.end);
}
