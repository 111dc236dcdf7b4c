//! Exits that no KVM made: handlers are asked as for a guest's, and what no KVM makes asks nobody.

mod common;

use common::kvm;
use portcall::abi::port;
use portcall::kvm_bindings::{KVM_EXIT_IO, kvm_run};
use portcall::layout::MIB;
use portcall::{Capture, End, Guest, Image, Limit, Ports, Stop, Vm};

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
