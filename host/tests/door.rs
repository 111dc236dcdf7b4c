//! The host calls functions of a guest, which may do anything before it answers. The guest keeps
//! the contract of the mailbox by hand: it is in assembly.

#![expect(clippy::panic, reason = "that is how a test fails")]

mod common;
#[path = "common/serving.rs"]
mod serving;

use abi::note::TYPE_SERVES;
use common::calls::{ROOM, TABLE, note};
use common::kvm;
use portcall::error::InterfaceError;
use portcall::layout::MIB;
use portcall::{
    Builder, CallError, End, Error, Gpa, Guest, Image, Limit, Outcome, Place, Ports, Ring, Stop, Vm,
};
use serving::{Client, descriptor, elf, guest, host};
use std::time::{Duration, Instant};

struct Double;

impl host::Host for Double {
    fn double(&mut self, value: u64) -> u64 {
        2 * value
    }
}

/// Takes its time.
struct Sleeper;

const SLEEP: Duration = Duration::from_millis(200);

impl Ports for Sleeper {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
        std::thread::sleep(SLEEP);
        Ok(())
    }
}

fn built(configure: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vm {
    let (kvm, file) = (kvm(), guest());
    let image = Image::parse(&file).expect("an image");
    let builder = Vm::builder(&kvm, &image)
        .serve(host::Server(Double))
        .ports(0x300..=0x300, Sleeper)
        .limit(Limit::Time(Duration::from_secs(20)));
    configure(builder).build().expect("builds")
}

fn vm() -> Vm {
    built(|builder| builder)
}

/// The end that a call came to.
#[track_caller]
fn ended<T: std::fmt::Debug>(result: Result<T, CallError>) -> End {
    match result {
        Err(CallError::Ended(end)) => end,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
    match result {
        Err(CallError::Refused { call, why }) => format!("{call}: {why}"),
        other => panic!("{other:?}"),
    }
}

/// Gives the sum so far; shows that the guest is well.
#[track_caller]
fn add_up(vm: &mut Vm, value: u64) -> u64 {
    Client(vm.door()).add_up(value).expect("answers")
}

const RINGS: [Ring; 2] = [Ring::Zero, Ring::Three];

#[test]
fn a_guest_answers_any_number_of_calls_and_keeps_its_state() {
    for ring in RINGS {
        let mut vm = built(|builder| builder.ring(ring));
        let mut client = Client(vm.door());
        for i in 1..=1000 {
            assert_eq!(client.add_up(i).expect("answers"), i * (i + 1) / 2);
        }
        // Another door is the same way in; main ran once.
        assert_eq!(add_up(&mut vm, 0), 500_500);
        let outcome: Outcome = vm.run().expect("nothing to run");
        assert_eq!(outcome.end, End::Serving);
    }
}

#[test]
fn a_call_of_numbers_is_one_kvm_run() {
    let mut vm = vm();
    assert_eq!(vm.run().expect("runs").end, End::Serving);
    let before = vm.stats().exits();
    for i in 1..=10 {
        add_up(&mut vm, 1);
        assert_eq!(vm.stats().exits(), before + i);
    }
}

#[test]
fn a_deadline_ends_a_call_and_the_guest_with_it() {
    for ring in RINGS {
        let mut vm = built(|builder| builder.ring(ring));
        assert_eq!(add_up(&mut vm, 1), 1);
        let (start, limit) = (Instant::now(), Duration::from_millis(60));
        let end = ended(Client(vm.door().within(limit)).spin());
        assert_eq!(end, End::LimitReached(Limit::Time(limit)));
        assert!((limit..Duration::from_secs(10)).contains(&start.elapsed()));
        // For good, and at once.
        assert_eq!(ended(Client(vm.door()).add_up(1)), end);
        assert_eq!(vm.run().expect("has ended").end, end);
    }
}

#[test]
fn the_vms_own_limit_is_each_calls() {
    let own = Duration::from_millis(600);
    let mut vm = built(|builder| builder.limit(Limit::Time(own)));
    let start = Instant::now();
    // Together they take longer, and so does what lies between them.
    while start.elapsed() < own {
        assert_eq!(Client(vm.door()).slow().expect("answers"), 7);
    }
    std::thread::sleep(own);
    assert_eq!(Client(vm.door()).slow().expect("answers"), 7);
    let end = ended(Client(vm.door()).spin());
    assert_eq!(end, End::LimitReached(Limit::Time(own)));
}

#[test]
fn a_limit_holds_for_calls_behind_runs_and_steps_that_came_to_nothing() {
    let own = Duration::from_millis(300);
    let mut vm = built(|builder| builder.limit(Limit::Time(own)));
    for _ in 0..2 {
        assert_eq!(vm.run().expect("runs").end, End::Serving);
        assert_eq!(vm.step().expect("has ended"), Stop::End(End::Serving));
    }
    let start = Instant::now();
    assert_eq!(ended(Client(vm.door()).spin()), End::LimitReached(Limit::Time(own)));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn the_deadline_of_one_call_is_not_the_nexts() {
    let mut vm = vm();
    let short = Duration::from_millis(100);
    assert_eq!(Client(vm.door().within(short)).add_up(1).expect("answers"), 1);
    // It takes longer than that, and than the time from the first call on.
    assert_eq!(Client(vm.door()).slow().expect("answers"), 7);
    let end = ended(Client(vm.door().within(short)).slow());
    assert_eq!(end, End::LimitReached(Limit::Time(short)));
}

#[test]
fn a_function_that_dies_takes_the_guest_with_it() {
    type Way = (fn(&mut Vm) -> Result<(), CallError>, fn(&End) -> bool);
    let ways: [Way; 4] = [
        (
            |vm| Client(vm.door()).fault(),
            |end| matches!(end, End::Exception(exception) if exception.vector == 6),
        ),
        (
            |vm| Client(vm.door()).panic(),
            |end| matches!(end, End::Panicked { message, at: None::<Place> } if message.is_empty()),
        ),
        (|vm| Client(vm.door()).exit(3), |end| *end == End::Exited(3)),
        (|vm| Client(vm.door()).halt(), |end| *end == End::Halted),
    ];
    for ring in RINGS {
        for (way, expected) in ways {
            let mut vm = built(|builder| builder.ring(ring));
            assert_eq!(add_up(&mut vm, 1), 1);
            let end = ended(way(&mut vm));
            assert!(expected(&end), "{end} in {ring:?}");
            for _ in 0..2 {
                assert_eq!(ended(Client(vm.door()).add_up(1)), end, "in {ring:?}");
            }
        }
    }
}

#[test]
fn a_guest_that_does_not_come_to_serve_answers_nothing() {
    let mut vm = vm();
    // Its main exits with what stands there.
    vm.memory().write(Gpa(TABLE), &5_u32.to_le_bytes()).expect("RAM");
    assert_eq!(ended(Client(vm.door()).add_up(1)), End::Exited(5));
    assert_eq!(ended(Client(vm.door()).add_up(1)), End::Exited(5));
}

#[test]
fn a_stop_ends_a_call() {
    let mut vm = vm();
    assert_eq!(add_up(&mut vm, 1), 1);
    let stopper = vm.stopper();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        stopper.stop();
    });
    assert_eq!(ended(Client(vm.door()).spin()), End::Stopped);
    thread.join().expect("joins");
    assert_eq!(ended(Client(vm.door()).add_up(1)), End::Stopped);
}

#[test]
fn what_the_guest_refuses_it_may_answer_the_next_time() {
    let mut vm = vm();
    let mut client = Client(vm.door());
    assert_eq!(
        refused(client.refuse(3)),
        "Served::refuse: bytes that the caller may not use itself"
    );
    assert_eq!(refused(client.refuse(77)), "Served::refuse: refusal 77");
    assert_eq!(refused(client.unknown()), "Served::unknown: the interface has no such call");
    assert_eq!(client.add_up(1).expect("answers"), 1);
}

#[test]
fn arguments_fit_the_mailbox_or_are_refused_before_the_guest_runs() {
    let most = usize::try_from(abi::mailbox::SIZE - abi::mailbox::BYTES).expect("small");
    let mut vm = vm();
    assert_eq!(Client(vm.door()).length(&vec![1; most]).expect("answers"), most as u64);
    let before = vm.stats().exits();
    let mut client = Client(vm.door());
    for size in [most + 1, 1 << 20] {
        let why = format!(
            "Served::length: an argument of {size} bytes, where the mailbox has room for {most}"
        );
        assert_eq!(refused(client.length(&vec![1; size])), why);
    }
    // The first fits, the second does not; neither is changed.
    let (mut first, mut second) = ([1; 8], vec![1; most]);
    let why = refused(client.fill(&mut first, &mut second));
    assert!(why.starts_with("Served::fill: an argument of "), "{why}");
    assert!(first == [1; 8] && second.iter().all(|byte| *byte == 1));
    assert_eq!(vm.stats().exits(), before);
    assert_eq!(add_up(&mut vm, 1), 1);
    // Each has its own place, and comes back from there.
    let (mut first, mut second) = ([0; 3], [0; 5]);
    Client(vm.door()).fill(&mut first, &mut second).expect("answers");
    assert_eq!((first, second), ([5; 3], [3; 5]));
}

#[test]
fn a_result_that_lies_ends_the_guest() {
    const HIGH: u64 = u64::MAX;
    for (address, size, why) in [
        (0, 4, "4 bytes at 0x0, which the guest may not use so itself"),
        (1 << 32, 4, "4 bytes at 0x100000000, which the guest may not use so itself"),
        (HIGH - 1, 4, "4 bytes at 0xfffffffffffffffe, which the guest may not use so itself"),
        (ROOM, HIGH, "18446744073709551615 bytes, with space for 16777216"),
        (ROOM, 4, "4 bytes at 0x201000 are not UTF-8"),
    ] {
        for ring in RINGS {
            let mut vm = built(|builder| builder.ring(ring));
            vm.memory().write(Gpa(ROOM), b"ab\xff\xfe").expect("RAM");
            assert_eq!(Client(vm.door()).text(ROOM, 2).expect("text"), "ab");
            assert_eq!(Client(vm.door()).text(HIGH, 0).expect("nothing, which is anywhere"), "");
            let end = ended(Client(vm.door()).text(address, size));
            let End::CallRefused { call, why: said } = &end else { panic!("{end}") };
            assert_eq!(call, "Served::text");
            assert!(said.starts_with("its result: ") && said.ends_with(why), "{said}");
            assert_eq!(ended(Client(vm.door()).add_up(1)), end);
        }
    }
    let mut vm = vm();
    let mut client = Client(vm.door());
    for (words, value) in [((0, 9), None), ((1, 0), Some(false)), ((1, 1), Some(true))] {
        assert_eq!(client.option(words.0, words.1).expect("right"), value);
    }
    let end = ended(client.option(1, 2));
    assert_eq!(end.to_string().matches("0x2 is no value of its type").count(), 1, "{end}");
    let end = ended(Client(built(|builder| builder).door()).option(2, 0));
    assert!(matches!(end, End::CallRefused { .. }), "{end}");
}

#[test]
fn a_ring_3_guest_hands_out_no_bytes_of_the_hosts_own_range() {
    let mut vm = built(|builder| builder.ring(Ring::Three));
    let tables = vm.layout().tables.start;
    let end = ended(Client(vm.door()).text(tables + 0x800, 8));
    assert!(matches!(end, End::CallRefused { .. }), "{end}");
}

#[test]
fn a_guest_may_lose_its_way_and_harms_only_itself() {
    let mut vm = vm();
    let mut client = Client(vm.door());
    // It waits in the middle of an answer: that is the answer, and what it does when it goes on
    // is the next one's, however wrong.
    assert_eq!(client.serve_inside().expect("answers"), 1);
    assert_eq!(client.add_up(40).expect("answers"), 2);
    assert_eq!(client.add_up(40).expect("answers"), 40);
    // The mailbox is its own memory.
    client.rewrite().expect("answers");
    assert_eq!(client.add_up(2).expect("answers"), 42);
}

#[test]
fn a_function_may_call_the_host_and_print() {
    let text = portcall::Capture::new();
    let mut vm = built(|builder| builder.console(text.clone()));
    assert_eq!(Client(vm.door()).call_host(21).expect("answers"), 42);
    for byte in *b"hi" {
        Client(vm.door()).print(byte).expect("answers");
    }
    // What a call printed is there when it is answered.
    assert_eq!(text.text(), "hi");
}

#[test]
fn an_image_answers_what_it_says_it_does() {
    let kvm = kvm();
    let halts = code!(halts: "out 0xf8, eax" "hlt");
    let try_one = |notes: &[u8]| {
        let file = elf(halts, notes);
        let image = Image::parse(&file).expect("an image");
        let mut vm = Vm::builder(&kvm, &image).memory(4 * MIB).build().expect("builds");
        match Client(vm.door()).add_up(1) {
            Err(CallError::Interface(error)) => (error, vm),
            other => panic!("{other:?}"),
        }
    };
    let (error, mut vm) = try_one(&[]);
    assert!(matches!(error, InterfaceError::NotServed { interface: "Served" }), "{error}");
    assert!(error.to_string().contains("entry!(main, serves = [...])"), "{error}");
    // To such an image the serve port is one that nobody answers.
    let outcome = vm.run().expect("runs");
    assert_eq!(outcome.end, End::Halted);
    assert_eq!(outcome.stats.unanswered.get(&0xf8), Some(&(0, 1)));
    let (error, _) = try_one(&note(TYPE_SERVES, b"Other\0add_up(value: u64) -> u64\0"));
    assert!(matches!(error, InterfaceError::NotServed { .. }), "{error}");
    let (error, mut vm) = try_one(&note(TYPE_SERVES, b"Served\0add_up(value: u32) -> u64\0"));
    let text = error.to_string();
    assert!(text.contains("call 0 is add_up(value: u32) -> u64 in the image"), "{text}");
    assert!(text.contains("call 1, spin(), is only here"), "{text}");
    // Nothing ran, and it may.
    assert_eq!(vm.stats().exits(), 0);
    assert_eq!(vm.run().expect("runs").end, End::Serving);
}

#[test]
fn an_image_without_a_mailbox_is_left_alone() {
    let image = Image::flat(code!(no_mailbox: "mov rsi, [rdi + 48]" "mov rax, [rsi]" "hlt"));
    let image = image.expect("code");
    let mut vm = Vm::builder(&kvm(), &image).arguments(["argument"]).build().expect("builds");
    let text = [b'!'; 4096];
    let refused = Client(vm.door()).length(&text).expect_err("refused");
    assert!(matches!(refused, CallError::Interface(_)), "{refused}");
    let outcome = vm.run().expect("runs");
    assert_eq!(outcome.registers.rax.to_le_bytes(), *b"argument");
}

#[test]
fn a_deadline_holds_for_a_main_that_does_not_return() {
    let code = code!(endless: "jmp endless_start");
    let file = elf(code, &note(TYPE_SERVES, &descriptor()));
    let image = Image::parse(&file).expect("an image");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    let limit = Duration::from_millis(50);
    let end = ended(Client(vm.door().within(limit)).add_up(1));
    assert_eq!(end, End::LimitReached(Limit::Time(limit)));
}

#[test]
fn a_call_error_becomes_an_error_of_ones_own() {
    fn calls(vm: &mut Vm) -> Result<u64, Box<dyn std::error::Error>> {
        Ok(Client(vm.door()).add_up(1)? + Client(vm.door()).add_up(1)?)
    }
    let mut vm = vm();
    assert_eq!(calls(&mut vm).expect("answers"), 3);
    assert_eq!(ended(Client(vm.door()).exit(9)), End::Exited(9));
    let text = calls(&mut vm).expect_err("has ended").to_string();
    assert!(text.starts_with("the guest has ended: "), "{text}");
    let host: CallError = Error::from(InterfaceError::NotServed { interface: "Served" }).into();
    assert!(matches!(host, CallError::Host(_)));
}
