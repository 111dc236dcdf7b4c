//! Model-specific registers that a host answers for. All of these need KVM.

mod common;

use common::kvm;
use portcall::exit::ExitKind;
use portcall::layout::MIB;
use portcall::{Builder, End, Guest, Image, Kvm, Msrs, Outcome, Ring, Vm};
use std::sync::{Arc, Mutex};

/// An access: the register, and what is written.
type Access = (u32, Option<u64>);

/// Notes what it is asked. Those with an odd number are not there; the others are read as their
/// number in both halves, and take all but all ones.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Access>>>);

impl Msrs for Notes {
    fn read(&mut self, _: &mut Guest<'_>, msr: u32) -> Result<Option<u64>, End> {
        self.0.lock().expect("no panic").push((msr, None));
        Ok((msr & 1 == 0).then_some(u64::from(msr) << 32 | u64::from(msr)))
    }

    fn write(&mut self, _: &mut Guest<'_>, msr: u32, value: u64) -> Result<bool, End> {
        self.0.lock().expect("no panic").push((msr, Some(value)));
        Ok(msr & 1 == 0 && value != u64::MAX)
    }
}

fn vm(kvm: &Kvm, code: &'static [u8], add: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vm {
    let image = Image::flat(code).expect("code");
    add(Vm::builder(kvm, &image).memory(2 * MIB)).build().expect("builds")
}

fn run(code: &'static [u8], ring: Ring) -> (Outcome, Vec<Access>) {
    let notes = Notes::default();
    let kvm = kvm();
    let mut vm = vm(&kvm, code, |builder| {
        let builder = builder.ring(ring).msrs(0x11000..=0x11fff, notes.clone());
        // LSTAR, which a processor has.
        builder.msrs(0xc000_0082..=0xc000_0082, notes.clone())
    });
    let outcome = vm.run().expect("runs");
    let seen = notes.0.lock().expect("no panic").clone();
    (outcome, seen)
}

#[test]
fn reads_and_writes_in_the_range_are_the_handlers() {
    let code = code!(msr_both:
        "mov ecx, 0x11000" "mov rax, -1" "mov rdx, -1" "rdmsr" "mov r8, rax" "mov r9, rdx"
        "mov ecx, 0x11ffe" "mov eax, 1" "mov edx, 2" "wrmsr" "rdmsr" "mov r10, rax"
        "mov ecx, 0xc0000082" "mov eax, 0x1234" "xor edx, edx" "wrmsr" "rdmsr" "hlt"
    );
    let (outcome, seen) = run(code, Ring::Zero);
    assert_eq!(outcome.end, End::Halted);
    let r = outcome.registers;
    assert_eq!((r.r8, r.r9, r.r10), (0x11000, 0x11000, 0x11ffe));
    assert_eq!((r.rdx, r.rax), (0xc000_0082, 0xc000_0082));
    let asked = [
        (0x11000, None),
        (0x11ffe, Some(2 << 32 | 1)),
        (0x11ffe, None),
        (0xc000_0082, Some(0x1234)),
        (0xc000_0082, None),
    ];
    assert_eq!(seen, asked);
    assert_eq!(outcome.stats.exits_of(ExitKind::Msr), 5);
}

#[test]
fn others_stay_those_of_kvm() {
    // STAR, beside LSTAR, takes what is written; of what there is not, nobody is told.
    let code = code!(msr_others:
        "mov ecx, 0xc0000081" "mov eax, 7" "mov edx, 8" "wrmsr" "xor eax, eax" "xor edx, edx" "rdmsr"
        "mov r8d, eax" "mov r9d, edx" "mov ecx, 0x12000" "rdmsr" "hlt"
    );
    let (outcome, seen) = run(code, Ring::Zero);
    assert!(matches!(outcome.end, End::Exception(it) if it.vector == 13), "{}", outcome.end);
    assert_eq!((outcome.registers.r8, outcome.registers.r9), (7, 8));
    assert_eq!((seen, outcome.stats.exits_of(ExitKind::Msr)), (Vec::new(), 0));
}

#[test]
fn what_a_handler_refuses_is_a_general_protection_fault_of_the_instruction() {
    let read = code!(msr_no_read: "mov ecx, 0x11001" "rdmsr" "hlt");
    let write = code!(msr_no_write: "mov ecx, 0x11000" "mov eax, -1" "mov edx, -1" "wrmsr" "hlt");
    for (code, access, rip) in [(read, (0x11001, None), 5), (write, (0x11000, Some(u64::MAX)), 15)]
    {
        let (outcome, seen) = run(code, Ring::Zero);
        let End::Exception(fault) = outcome.end else { panic!("{}", outcome.end) };
        assert_eq!((fault.vector, fault.error_code, fault.rip.0), (13, Some(0), MIB + rip));
        assert_eq!(seen, [access]);
    }
}

#[test]
fn in_ring_3_it_is_a_fault_and_nobody_is_asked() {
    let read = code!(msr_ring_3: "mov ecx, 0x11000" "rdmsr" "hlt");
    let write = code!(msr_ring_3_write: "mov ecx, 0x11000" "wrmsr" "hlt");
    for code in [read, write] {
        let (outcome, seen) = run(code, Ring::Three);
        let End::Exception(fault) = outcome.end else { panic!("{}", outcome.end) };
        assert_eq!((fault.vector, fault.rip.0, seen), (13, MIB + 5, Vec::new()));
    }
}

#[test]
fn a_handler_that_fails_or_panics_ends_the_run() {
    struct Broken;
    impl Msrs for Broken {
        fn read(&mut self, guest: &mut Guest<'_>, msr: u32) -> Result<Option<u64>, End> {
            assert_eq!(guest.registers()?.rcx, u64::from(msr));
            panic!("at {msr:#x}");
        }

        fn write(&mut self, _: &mut Guest<'_>, _: u32, value: u64) -> Result<bool, End> {
            Err(End::HandlerFailed { message: value.to_string() })
        }
    }
    let read = code!(msr_panic: "mov ecx, 0x40" "rdmsr" "hlt");
    let write = code!(msr_fail: "mov ecx, 0x40" "mov eax, 9" "xor edx, edx" "wrmsr" "hlt");
    let kvm = kvm();
    for (code, words) in [(read, "the handler of MSR 0x40 panicked: at 0x40"), (write, "9")] {
        let mut vm = vm(&kvm, code, |builder| builder.msrs(0x40..=0x40, Broken));
        let end = vm.run().expect("runs").end;
        assert_eq!(end, End::HandlerFailed { message: words.to_owned() });
        assert_eq!(vm.run().expect("runs").end, end);
    }
}

#[test]
fn one_that_overrides_nothing_is_not_there() {
    struct Silent;
    impl Msrs for Silent {}
    let kvm = kvm();
    for code in [
        code!(msr_silent_read: "mov ecx, 0x174" "rdmsr" "hlt"),
        code!(msr_silent_write: "mov ecx, 0x174" "wrmsr" "hlt"),
    ] {
        let mut vm = vm(&kvm, code, |builder| builder.msrs(0x174..=0x176, Silent));
        let end = vm.run().expect("runs").end;
        assert!(matches!(end, End::Exception(it) if it.vector == 13), "{end}");
    }
}
