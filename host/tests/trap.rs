//! Breakpoints and single steps, caught: the same stop in both rings, whatever way this KVM has them
//! arrive.

use portcall::exit::ExitKind;
use portcall::{End, Exit, Gpa, Image, Kvm, Ring, Stop, Vm};

const RINGS: [Ring; 2] = [Ring::Zero, Ring::Three];

/// RFLAGS.TF.
const TRAP_FLAG: u64 = 1 << 8;

fn vm(code: &[u8], ring: Ring) -> (Vm, u64) {
    let image = Image::flat(code).expect("an image");
    let kvm = Kvm::open().expect("these tests need KVM");
    let vm = Vm::builder(&kvm, &image).memory(2 << 20).ring(ring).build().expect("builds");
    (vm, image.entry().0)
}

fn step(vm: &mut Vm) -> Stop {
    vm.step().expect("the host is well")
}

fn goes_on_behind(vm: &mut Vm) {
    let mut registers = vm.registers().expect("readable");
    registers.rip += 1;
    vm.set_registers(&registers).expect("settable");
}

#[test]
fn registers_flags_and_stack_are_as_they_were() {
    // stc; push 5; mov ebx, 1; int3; adc ebx, 0; pop rax; int3; add eax, ebx; out 0xf4, al
    let code =
        [0xf9, 0x6a, 5, 0xbb, 1, 0, 0, 0, 0xcc, 0x83, 0xd3, 0, 0x58, 0xcc, 0x01, 0xd8, 0xe6, 0xf4];
    for ring in RINGS {
        let (mut vm, entry) = vm(&code, ring);
        vm.catch_traps(true);
        for at in [8, 13] {
            assert_eq!(step(&mut vm), Stop::Exit(Exit::Debug), "{ring:?}");
            assert_eq!(vm.registers().expect("readable").rip, entry + at, "{ring:?}");
            goes_on_behind(&mut vm);
            assert_eq!(vm.registers().expect("readable").rip, entry + at + 1, "{ring:?}");
        }
        // 5 + 1 + the carry.
        assert_eq!(step(&mut vm), Stop::End(End::Exited(7)), "{ring:?}");
        assert_eq!(vm.stats().exits(), 1, "{ring:?}: traps are none of the guest's exits");
        let traps = vm.stats().exits_of(ExitKind::Debug);
        assert_eq!(traps, 2, "{ring:?}: they are counted as what they are");
    }
}

#[test]
fn a_trap_that_is_refused_is_what_it_would_have_been() {
    for ring in RINGS {
        let (mut plain, _) = vm(&[0xcc], ring);
        let outcome = plain.run().expect("runs");
        assert!(!outcome.end.is_normal(), "{ring:?}: {:?}", outcome.end);
        let (mut vm, _) = vm(&[0xcc], ring);
        vm.catch_traps(true);
        assert_eq!(step(&mut vm), Stop::Exit(Exit::Debug), "{ring:?}");
        let end = vm.refuse_trap().expect("the host is well");
        assert_eq!(end, Stop::End(outcome.end), "{ring:?}");
        let rip = vm.outcome().expect("readable").expect("ended").registers.rip;
        assert_eq!(rip, outcome.registers.rip, "{ring:?}");
    }
}

#[test]
fn a_breakpoint_that_the_host_wrote_is_passed_by_a_step_over_the_instruction() {
    // inc eax, three times; out 0xf4, al. The second is where the breakpoint stands.
    let code = [0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xe6, 0xf4];
    for ring in RINGS {
        let (mut vm, entry) = vm(&code, ring);
        vm.catch_traps(true);
        let at = Gpa(entry + 2);
        vm.memory().write(at, &[0xcc]).expect("in memory");
        assert_eq!(step(&mut vm), Stop::Exit(Exit::Debug), "{ring:?}");
        let registers = vm.registers().expect("readable");
        assert_eq!((registers.rip, registers.rax), (at.0, 1), "{ring:?}");
        vm.memory().write(at, &[0xff]).expect("in memory");
        one_instruction(&mut vm, ring);
        let registers = vm.registers().expect("readable");
        assert_eq!((registers.rip, registers.rax), (at.0 + 2, 2), "{ring:?}");
        one_instruction(&mut vm, ring);
        assert_eq!(vm.registers().expect("readable").rax, 3, "{ring:?}");
        assert_eq!(step(&mut vm), Stop::End(End::Exited(3)), "{ring:?}");
    }
}

/// A single step, by the guest's own trap flag.
fn one_instruction(vm: &mut Vm, ring: Ring) {
    let mut registers = vm.registers().expect("readable");
    registers.rflags |= TRAP_FLAG;
    vm.set_registers(&registers).expect("settable");
    assert_eq!(step(vm), Stop::Exit(Exit::Debug), "{ring:?}");
    let mut registers = vm.registers().expect("readable");
    registers.rflags &= !TRAP_FLAG;
    vm.set_registers(&registers).expect("settable");
}

#[test]
fn registers_can_be_set_behind_an_exit_and_read_back() {
    // in al, 0x30; out 0xf4, al
    for ring in RINGS {
        let (mut vm, _) = vm(&[0xe4, 0x30, 0xe6, 0xf4], ring);
        assert!(matches!(step(&mut vm), Stop::Exit(Exit::Io(_))));
        vm.complete().expect("completed");
        let mut registers = vm.registers().expect("readable");
        registers.rax = 9;
        vm.set_registers(&registers).expect("settable");
        assert_eq!(vm.registers().expect("readable").rax, 9, "{ring:?}");
        assert_eq!(step(&mut vm), Stop::End(End::Exited(9)), "{ring:?}");
    }
}

#[test]
fn a_snapshot_in_a_trap_goes_on_from_there_and_a_restore_forgets_it() {
    // mov eax, 4; int3; inc eax; out 0xf4, al
    let code = [0xb8, 4, 0, 0, 0, 0xcc, 0xff, 0xc0, 0xe6, 0xf4];
    for ring in RINGS {
        let (mut vm, _) = vm(&code, ring);
        vm.catch_traps(true);
        let fresh = vm.snapshot().expect("a snapshot");
        assert_eq!(step(&mut vm), Stop::Exit(Exit::Debug), "{ring:?}");
        goes_on_behind(&mut vm);
        let trapped = vm.snapshot().expect("a snapshot");
        assert_eq!(step(&mut vm), Stop::End(End::Exited(5)), "{ring:?}");
        for _ in 0..3 {
            vm.restore(&fresh).expect("restored");
            assert_eq!(step(&mut vm), Stop::Exit(Exit::Debug), "{ring:?}");
            vm.restore(&trapped).expect("restored");
            assert_eq!(step(&mut vm), Stop::End(End::Exited(5)), "{ring:?}");
        }
    }
}
