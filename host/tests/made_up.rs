//! Exits that no KVM made: handlers are asked as for a guest's, and what no KVM makes asks nobody.

mod common;

use common::kvm;
use portcall::abi::port;
use portcall::kvm_bindings::{
    KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR, kvm_run,
    kvm_run__bindgen_ty_1__bindgen_ty_6 as RawMmio, kvm_run__bindgen_ty_1__bindgen_ty_23 as RawMsr,
};
use portcall::layout::MIB;
use portcall::{Capture, End, Exit, Gpa, Guest, Image, Limit, Mmio, Msrs, Ports, Stop, Vm};

/// Where KVM has the elements of a port access.
const ELEMENTS: usize = 4096;

/// Adds one, and says so.
struct Adder(u32);

impl Ports for Adder {
    fn read(&mut self, guest: &mut Guest<'_>, _port: u16, _width: u8) -> Result<u32, End> {
        guest.print(format!("{} ", self.0));
        assert!(guest.annotate("rax", &guest.registers()?.rax.to_string()));
        Ok(self.0)
    }

    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
        self.0 = value + 1;
        Ok(())
    }
}

/// A port access: direction (1 is OUT), width, port, count, and where its elements are.
fn access(vm: &mut Vm, (out, width, port): (u8, u8, u16), count: u32, offset: u64) -> Stop {
    let (run, _) = vm.kvm_run();
    run.exit_reason = KVM_EXIT_IO;
    let io = portcall::kvm_bindings::kvm_run__bindgen_ty_1__bindgen_ty_4 {
        direction: out,
        size: width,
        port,
        count,
        data_offset: offset,
    };
    run.__bindgen_anon_1.io = io;
    vm.answer_made_up().expect("nothing fails on the host")
}

fn elements(vm: &mut Vm) -> &mut [u8] {
    let (_, behind) = vm.kvm_run();
    &mut behind[ELEMENTS - size_of::<kvm_run>()..]
}

#[test]
fn handlers_are_asked_and_the_answer_stands_in_the_mapping() {
    let image = Image::flat(&[0xf4]).expect("an image");
    let text = Capture::new();
    let kvm = kvm();
    let builder = Vm::builder(&kvm, &image).memory(2 * MIB).console(text.clone());
    let mut vm = builder.ports(0x300..=0x300, Adder(0)).build().expect("builds");
    elements(&mut vm)[..4].copy_from_slice(&41_u32.to_le_bytes());
    assert!(matches!(access(&mut vm, (1, 4, 0x300), 1, 4096), Stop::Exit(_)));
    let (run, _) = vm.kvm_run();
    run.s.regs.regs.rax = 7;
    assert!(matches!(access(&mut vm, (0, 4, 0x300), 2, 4096), Stop::Exit(_)));
    assert_eq!(elements(&mut vm)[..8], [42, 0, 0, 0, 42, 0, 0, 0]);
    assert_eq!(access(&mut vm, (1, 1, port::EXIT), 1, 4096), Stop::End(End::Exited(42)));
    assert_eq!((vm.stats().exits(), text.text()), (3, "42 42 ".to_owned()));
    let outcome = vm.outcome().expect("registers").expect("an end");
    assert_eq!(outcome.annotations.get("rax"), Some("7"));

    vm.forget();
    assert_eq!((vm.stats().exits(), vm.outcome().expect("registers").is_none()), (0, true));
    // The guest itself has done nothing, and now does.
    assert_eq!(vm.run().expect("runs").end, End::Halted);
}

#[test]
fn an_access_that_no_kvm_makes_is_an_end_and_asks_nobody() {
    let image = Image::flat(&[0xf4]).expect("an image");
    let kvm = kvm();
    let builder = Vm::builder(&kvm, &image).memory(2 * MIB);
    let mut vm = builder.ports(0x300..=0x300, Adder(0)).build().expect("builds");
    let unexpected = Stop::End(End::UnexpectedExit { reason: KVM_EXIT_IO });
    for port in [0x300, port::CONSOLE, port::INPUT, port::CALL, port::EXIT, 0x80] {
        for out in [0, 1] {
            // Widths that there are not, no elements, elements outside the mapping, and both.
            let shapes = [
                (0, 1, 4096),
                (3, 1, 4096),
                (255, 1, 4096),
                (4, 0, 4096),
                (1, u32::MAX, 4096),
                (4, 1, u64::MAX),
                (4, 1, 1 << 20),
                (0, 0, 0),
            ];
            for (width, count, offset) in shapes {
                let stop = access(&mut vm, (out, width, port), count, offset);
                assert_eq!(stop, unexpected, "port {port:#x}: {width} {count} {offset}");
            }
        }
    }
    assert!(vm.stats().unanswered.is_empty() && vm.stats().console_bytes == 0);
}

#[test]
fn limits_begin_again_with_each_row() {
    let image = Image::flat(&[0xf4]).expect("an image");
    let kvm = kvm();
    let builder = Vm::builder(&kvm, &image).memory(2 * MIB).limit(Limit::Console(1));
    let mut vm = builder.limit(Limit::Exits(2)).build().expect("builds");
    for _ in 0..3 {
        let print = |vm: &mut Vm| access(vm, (1, 1, port::CONSOLE), 1, 4096);
        assert!(matches!(print(&mut vm), Stop::Exit(_)));
        assert_eq!(print(&mut vm), Stop::End(End::LimitReached(Limit::Console(1))));
        vm.forget();
    }
}

/// Gives its address or number, and takes what is written for its next answer.
struct Register(Option<u64>);

impl Mmio for Register {
    fn read(&mut self, _: &mut Guest<'_>, gpa: Gpa, _: u8) -> Result<u64, End> {
        Ok(self.0.unwrap_or(gpa.0))
    }

    fn write(&mut self, _: &mut Guest<'_>, _: Gpa, _: u8, value: u64) -> Result<(), End> {
        self.0 = Some(value);
        Ok(())
    }
}

impl Msrs for Register {
    fn read(&mut self, _: &mut Guest<'_>, _: u32) -> Result<Option<u64>, End> {
        Ok(self.0)
    }

    fn write(&mut self, _: &mut Guest<'_>, _: u32, value: u64) -> Result<bool, End> {
        self.0 = Some(value);
        Ok(value < 10)
    }
}

/// A VM with a window of two pages, and 16 registers.
fn wide() -> Vm {
    let (kvm, image) = (kvm(), Image::flat(&[0xf4]).expect("an image"));
    let builder = Vm::builder(&kvm, &image).memory(2 * MIB);
    let builder = builder.mmio(0xd000_0000..0xd000_2000, Register(None));
    builder.msrs(0x1000..=0x100f, Register(None)).build().expect("builds")
}

fn memory_access(vm: &mut Vm, phys_addr: u64, len: u32, write: Option<u64>) -> Stop {
    let (run, _) = vm.kvm_run();
    run.exit_reason = KVM_EXIT_MMIO;
    let (data, is_write) = (write.unwrap_or_default().to_le_bytes(), u8::from(write.is_some()));
    run.__bindgen_anon_1.mmio = RawMmio { phys_addr, data, len, is_write };
    vm.answer_made_up().expect("nothing fails on the host")
}

#[test]
fn a_window_answers_what_is_all_in_one_of_its_pages_and_nothing_else() {
    let mut vm = wide();
    for (at, len) in [(0xd000_0000, 8), (0xd000_0fff, 1), (0xd000_1ffb, 5)] {
        assert!(matches!(memory_access(&mut vm, at, len, None), Stop::Exit(Exit::Mmio(_))));
        let (run, _) = vm.kvm_run();
        // SAFETY: the exit is one of KVM_EXIT_MMIO, so this is what the union holds.
        assert_eq!(u64::from_le_bytes(unsafe { run.__bindgen_anon_1.mmio.data }), at);
    }
    for (at, len) in [
        (0xcfff_ffff, 1),
        (0xcfff_ffff, 2),
        (0xd000_0ffe, 4),
        (0xd000_1ffc, 8),
        (0xd000_2000, 1),
        (0xd000_0000, 0),
        (0xd000_0000, 9),
        (0xd000_0000, u32::MAX),
        (u64::MAX, 8),
    ] {
        for write in [None, Some(7)] {
            let end = End::UnmappedAccess { gpa: Gpa(at), write: write.is_some() };
            assert_eq!(memory_access(&mut vm, at, len, write), Stop::End(end), "{len} at {at:#x}");
        }
    }
    // Nobody was told of those.
    memory_access(&mut vm, 0xd000_0000, 2, Some(0x1234_5678));
    memory_access(&mut vm, 0xd000_0000, 8, None);
    let (run, _) = vm.kvm_run();
    // SAFETY: as above.
    assert_eq!(unsafe { run.__bindgen_anon_1.mmio.data }, [0x78, 0x56, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_register_answers_or_is_refused_and_others_are_no_exit_of_kvms() {
    let mut vm = wide();
    let mut access = |index: u32, write: Option<u64>| {
        let (run, _) = vm.kvm_run();
        run.exit_reason = if write.is_some() { KVM_EXIT_X86_WRMSR } else { KVM_EXIT_X86_RDMSR };
        run.__bindgen_anon_1.msr =
            RawMsr { index, data: write.unwrap_or(5), error: 7, ..RawMsr::default() };
        let stop = vm.answer_made_up().expect("nothing fails on the host");
        let (run, _) = vm.kvm_run();
        // SAFETY: the exit is one of KVM_EXIT_X86_RDMSR or WRMSR, so this is what the union holds.
        let msr = unsafe { run.__bindgen_anon_1.msr };
        (stop, msr.error, msr.data)
    };
    for (write, error, data) in [(None, 1, 0), (Some(9), 0, 9), (None, 0, 9), (Some(10), 1, 0)] {
        let (stop, is_error, read) = access(0x100f, write);
        assert!(matches!(stop, Stop::Exit(Exit::Msr(_))), "{stop:?}");
        assert_eq!((is_error, read), (error, data), "{write:?}");
    }
    for index in [0xfff, 0x1010, 0, u32::MAX] {
        for (write, reason) in [(None, KVM_EXIT_X86_RDMSR), (Some(1), KVM_EXIT_X86_WRMSR)] {
            assert_eq!(access(index, write).0, Stop::End(End::UnexpectedExit { reason }));
        }
    }
}
