//! Ending a run from outside: limits, ticks and stoppers. All of these need KVM.

mod common;

use common::kvm;
use portcall::{End, Guest, Image, Limit, Ports, Stop, Vm};
use std::time::{Duration, Instant};

fn spinning() -> Image<'static> {
    Image::flat(code!(spin: "2: jmp 2b")).expect("code")
}

#[test]
fn a_time_limit_ends_a_guest_that_makes_no_exit() {
    let limit = Limit::Time(Duration::from_millis(50));
    let start = Instant::now();
    let mut vm = Vm::builder(&kvm(), &spinning()).limit(limit).build().expect("builds");
    assert_eq!(vm.run().expect("runs").end, End::LimitReached(limit));
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_time_limit_holds_while_the_host_waits_for_input_or_its_console() {
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let image = Image::flat(code!(waits: "in eax, 0xea" "hlt")).expect("code");
    let limit = Limit::Time(Duration::from_millis(50));
    let mut vm = Vm::builder(&kvm(), &image).input(reader).limit(limit).build().expect("builds");
    assert_eq!(vm.run().expect("runs").end, End::LimitReached(limit));

    // Nobody reads the other end.
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let code = code!(floods: "mov ecx, 4096" "mov dx, 0xe9" "2: mov ecx, 512" "rep outsb" "jmp 2b");
    let image = Image::flat(code).expect("code");
    let start = Instant::now();
    let mut vm = Vm::builder(&kvm(), &image).console(writer).limit(limit).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert!(!outcome.end.is_normal(), "{}", outcome.end);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_stopper_ends_a_run_from_another_thread_for_good() {
    let limit = Limit::Time(Duration::from_secs(20));
    let mut vm = Vm::builder(&kvm(), &spinning()).limit(limit).build().expect("builds");
    let stopper = vm.stopper();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        stopper.stop();
    });
    assert_eq!(vm.run().expect("runs").end, End::Stopped);
    other.join().expect("joins");
    assert_eq!(vm.run().expect("runs").end, End::Stopped);
}

#[test]
fn a_time_limit_holds_for_those_who_step_and_for_slow_handlers() {
    /// Takes longer than a tick to answer.
    struct Slow;
    impl Ports for Slow {
        fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
            std::thread::sleep(Duration::from_millis(30));
            Ok(())
        }
    }
    let image = Image::flat(code!(exits: "2: out 0x80, al" "jmp 2b")).expect("code");
    let limit = Limit::Time(Duration::from_millis(100));
    let kvm = kvm();
    let build = || Vm::builder(&kvm, &image).limit(limit);

    let start = Instant::now();
    let mut vm = build().build().expect("builds");
    let end = loop {
        if let Stop::End(end) = vm.step().expect("steps") {
            break end;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "no end by stepping");
    };
    assert_eq!(end, End::LimitReached(limit));
    assert_eq!(vm.outcome().expect("registers").expect("ended").end, end);

    let start = Instant::now();
    let mut vm = build().ports(0x80..=0x80, Slow).build().expect("builds");
    assert_eq!(vm.run().expect("runs").end, End::LimitReached(limit));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn ticks_are_no_exits() {
    // It works for some ticks, and makes one exit.
    let code = code!(works: "mov ecx, 60000" "2: dec ecx" "jnz 2b" "hlt");
    let image = Image::flat(code).expect("code");
    let mut vm =
        Vm::builder(&kvm(), &image).tick(Duration::from_millis(1)).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!((outcome.end, outcome.stats.exits()), (End::Halted, 1));
}

#[test]
fn a_stop_before_the_run_is_not_lost() {
    let mut vm = Vm::builder(&kvm(), &spinning()).build().expect("builds");
    vm.stopper().stop();
    assert_eq!(vm.run().expect("runs").end, End::Stopped);
}

#[test]
fn a_vm_may_be_built_on_one_thread_and_run_on_another() {
    let mut vm = Vm::builder(&kvm(), &spinning()).build().expect("builds");
    let stopper = vm.stopper();
    let runner = std::thread::spawn(move || vm.run().expect("runs").end);
    std::thread::sleep(Duration::from_millis(20));
    stopper.stop();
    assert_eq!(runner.join().expect("joins"), End::Stopped);
}

#[test]
fn stoppers_do_not_follow_a_vm_into_other_hands() {
    let limit = Limit::Time(Duration::from_millis(50));
    let mut vm = Vm::builder(&kvm(), &spinning()).limit(limit).build().expect("builds");
    let before = vm.stopper();
    vm.change_hands();
    before.stop();
    assert!(!vm.is_stopped());
    assert_eq!(vm.run().expect("runs").end, End::LimitReached(limit));

    let mut vm = Vm::builder(&kvm(), &spinning()).build().expect("builds");
    vm.stopper().stop();
    vm.change_hands();
    // Whoever stopped it meant it.
    assert!(vm.is_stopped());
    assert_eq!(vm.run().expect("runs").end, End::Stopped);
}
