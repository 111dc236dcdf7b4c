//! Whole runs of small guests through the library. All of these need KVM.

mod common;

use common::elf::{DYNAMIC, Elf, Ph, R, RX, data};
use common::kvm;
use portcall::exit::ExitKind;
use portcall::layout::MIB;
use portcall::{
    Capture, End, Exit, ExitEvent, Gpa, Guest, Gva, Image, Observer, Outcome, Ports, Step, Stop, Vm,
};
use std::sync::{Arc, Mutex};

fn run(code: &'static [u8]) -> Outcome {
    let image = Image::flat(code).expect("code");
    Vm::builder(&kvm(), &image).build().expect("builds").run().expect("runs")
}

#[test]
fn hlt_is_a_normal_end_with_all_registers() {
    let outcome = run(code!(hlt: "mov rbx, 0x1122334455667788" "mov r15, -2" "hlt"));
    assert_eq!(outcome.end, End::Halted);
    assert_eq!(outcome.registers.rbx, 0x1122_3344_5566_7788);
    assert_eq!(outcome.registers.r15, u64::MAX - 1);
    assert_eq!(outcome.stats.exits_of(ExitKind::Hlt), 1);
    assert_eq!(outcome.stats.exits(), 1);
}

#[test]
fn an_exit_code_of_each_width() {
    assert_eq!(run(code!(exit8: "mov eax, -1" "out 0xf4, al")).end, End::Exited(0xff));
    assert_eq!(run(code!(exit16: "mov eax, -1" "out 0xf4, ax")).end, End::Exited(0xffff));
    assert_eq!(run(code!(exit32: "mov eax, -1" "out 0xf4, eax")).end, End::Exited(u32::MAX));
}

#[test]
fn the_entry_is_an_ordinary_function() {
    // RSP + 8 is a multiple of 16, the return address is 0, and RBP ends the walk.
    let outcome = run(code!(entry: "lea rax, [rsp + 8]" "and rax, 15" "mov rbx, [rsp]" "hlt"));
    let registers = outcome.registers;
    assert_eq!((registers.rax, registers.rbx, registers.rbp), (0, 0, 0));
}

/// Takes one number, and gives it back one higher, a byte wider each time.
struct Counter(Arc<Mutex<Vec<(u8, u32)>>>);

impl Ports for Counter {
    fn read(&mut self, _: &mut Guest<'_>, port: u16, width: u8) -> Result<u32, End> {
        assert_eq!(port, 0x301);
        let last = self.0.lock().expect("no panic").last().map_or(0, |(_, value)| *value);
        Ok(last + u32::from(width))
    }

    fn write(&mut self, _: &mut Guest<'_>, _: u16, width: u8, value: u32) -> Result<(), End> {
        if value == 0xdead {
            return Err(End::HandlerFailed { message: "dead".to_owned() });
        }
        self.0.lock().expect("no panic").push((width, value));
        Ok(())
    }
}

#[test]
fn a_handler_answers_every_width_and_strings() {
    let code = code!(ports:
        "mov dx, 0x300" "mov eax, 0x44332211" "out dx, al" "out dx, ax" "out dx, eax"
        "lea rsi, [rip + 3f]" "mov ecx, 3" "cld" "rep outsw"
        "mov dx, 0x301" "xor eax, eax" "in al, dx" "mov ebx, eax"
        "in ax, dx" "mov r8d, eax" "in eax, dx" "hlt"
        "3: .short 1, 2, 3"
    );
    let image = Image::flat(code).expect("code");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut vm = Vm::builder(&kvm(), &image)
        .ports(0x300..=0x301, Counter(Arc::clone(&seen)))
        .build()
        .expect("builds");
    let outcome = vm.run().expect("runs");
    let written = [(1, 0x11), (2, 0x2211), (4, 0x4433_2211), (2, 1), (2, 2), (2, 3)];
    assert_eq!(*seen.lock().expect("no panic"), written);
    let registers = outcome.registers;
    assert_eq!((registers.rbx, registers.r8, registers.rax), (4, 5, 7));
    assert!(outcome.stats.unanswered.is_empty());
}

#[test]
fn a_handler_that_fails_ends_the_run_with_its_words() {
    let code = code!(fails: "mov dx, 0x300" "mov eax, 0xdead" "out dx, ax" "hlt");
    let image = Image::flat(code).expect("code");
    let mut vm = Vm::builder(&kvm(), &image)
        .ports(0x300..=0x300, Counter(Arc::default()))
        .build()
        .expect("builds");
    let end = vm.run().expect("runs").end;
    assert_eq!(end, End::HandlerFailed { message: "dead".to_owned() });
    // And that is the end of it.
    assert_eq!(vm.run().expect("runs").end, end);
}

#[test]
fn a_port_that_nobody_answers_reads_all_ones_and_is_counted() {
    let code = code!(nobody:
        "mov dx, 0x70" "xor eax, eax" "in al, dx" "mov ebx, eax" "in eax, dx" "out dx, al" "hlt"
    );
    let outcome = run(code);
    assert_eq!((outcome.registers.rbx, outcome.registers.rax), (0xff, 0xffff_ffff));
    assert_eq!(outcome.stats.unanswered.get(&0x70), Some(&(2, 1)));
}

#[test]
fn the_console_port_takes_bytes_words_and_strings() {
    let code = code!(console:
        "mov al, 'a'" "out 0xe9, al" "mov eax, 0x58585862" "out 0xe9, eax"
        "lea rsi, [rip + 3f]" "mov ecx, 4" "mov dx, 0xe9" "cld" "rep outsb" "hlt"
        "3: .ascii \"cdef\""
    );
    let image = Image::flat(code).expect("code");
    let text = Capture::new();
    let outcome = Vm::builder(&kvm(), &image)
        .console(text.clone())
        .build()
        .expect("builds")
        .run()
        .expect("runs");
    assert_eq!(outcome.end, End::Halted);
    assert_eq!(text.text(), "abcdef");
    assert_eq!(outcome.stats.console_bytes, 6);
}

#[test]
fn input_comes_a_byte_at_a_time_and_then_all_ones() {
    let code = code!(input:
        "mov dx, 0xea" "in eax, dx" "mov ebx, eax" "in al, dx" "movzx r8d, al" "in eax, dx" "hlt"
    );
    let image = Image::flat(code).expect("code");
    let mut vm = Vm::builder(&kvm(), &image).input(&b"\xff7"[..]).build().expect("builds");
    let registers = vm.run().expect("runs").registers;
    assert_eq!((registers.rbx, registers.r8, registers.rax), (0xff, 0x37, 0xffff_ffff));
}

#[test]
fn steps_come_in_order_and_exits_are_seen() {
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);
    impl Observer for Seen {
        fn step(&mut self, step: &Step<'_>) {
            self.0.lock().expect("no panic").push(format!("{} {}", step.number, step.what));
        }
        fn exit(&mut self, event: &ExitEvent<'_>) {
            assert!(event.left >= event.entered);
            self.0.lock().expect("no panic").push(format!("10 KVM_RUN {}", event.exit));
        }
        fn end(&mut self, end: &End) {
            self.0.lock().expect("no panic").push(end.to_string());
        }
    }
    let seen = Seen::default();
    let image = Image::flat(code!(observed: "out 0x80, al" "hlt")).expect("code");
    Vm::builder(&kvm(), &image).observe(seen.clone()).build().expect("builds").run().expect("runs");
    let expected = [
        "1 KVM_CREATE_VM",
        "1 KVM_SET_TSS_ADDR",
        "2 mmap",
        "2 KVM_SET_USER_MEMORY_REGION",
        "3 KVM_CREATE_VCPU",
        "4 KVM_GET_VCPU_MMAP_SIZE",
        "5 KVM_GET_SREGS",
        "6 page tables",
        "7 KVM_SET_SREGS",
        "8 KVM_SET_REGS",
        "9 load",
        "10 KVM_RUN out port 0x80, 1 byte",
        "11 answer",
        "10 KVM_RUN hlt",
        "halted",
        "12 KVM_GET_REGS",
    ];
    assert_eq!(*seen.0.lock().expect("no panic"), expected);
}

#[test]
fn run_is_a_loop_over_step() {
    let image =
        Image::flat(code!(stepped: "out 0x80, al" "in al, 0x81" "hlt" "hlt")).expect("code");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    let mut kinds = Vec::new();
    let end = loop {
        match vm.step().expect("steps") {
            Stop::Exit(exit) => kinds.push(exit.kind()),
            Stop::End(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, End::Halted);
    assert_eq!(kinds, [ExitKind::Out, ExitKind::In]);
    // A guest goes on behind HLT, and halts again.
    let first = vm.registers().expect("registers").rip;
    assert_eq!(vm.step().expect("steps"), Stop::End(End::Halted));
    assert_eq!(vm.registers().expect("registers").rip, first + 1);
    assert!(matches!(Exit::Hlt.end(), Some(End::Halted)));
}

#[test]
fn many_vms_from_one_image_and_one_kvm() {
    let (kvm, code) = (kvm(), code!(many: "mov eax, 42" "hlt"));
    let image = Image::flat(code).expect("code");
    let mut vms: Vec<Vm> =
        (0..20).map(|_| Vm::builder(&kvm, &image).build().expect("builds")).collect();
    for vm in &mut vms {
        assert_eq!(vm.run().expect("runs").registers.rax, 42);
    }
}

#[test]
fn memory_by_address_and_by_symbol_free_segments() {
    let code = code!(stores: "mov dword ptr [0x200000], 7" "inc dword ptr [0x200ff8]" "hlt");
    // 4 bytes in the file, the rest of the page is BSS.
    let bytes =
        Elf::new(code).with(Ph { filesz: 4, ..data(0x20_0000, 0x1000) }, &[1, 2, 3, 4]).bytes();
    let image = Image::parse(&bytes).expect("right");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    assert_eq!(vm.run().expect("runs").end, End::Halted);
    assert_eq!(vm.memory().load_u64(Gpa(0x20_0000)).expect("RAM"), 7);
    let mut word = [0xaa; 8];
    vm.read_virtual(Gva(0x20_0ff8), &mut word).expect("mapped");
    assert_eq!(word, [1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(vm.read_virtual(Gva(0), &mut word).is_err());
    assert!(vm.read_virtual(Gva(16 * MIB - 4), &mut word).is_err());
    assert!(vm.memory().read(Gpa(16 * MIB - 4), &mut word).is_err());
    assert!(vm.memory().load_u64(Gpa(u64::MAX - 7)).is_err());
}

#[test]
fn a_static_pie_has_its_relocations_applied() {
    let code = code!(pie: "mov rbx, [rip + 0x1000 - 7]" "mov rax, [rbx]" "hlt");
    let words = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    // The word at 0x2000 is to hold the address of the one at 0x2008.
    let mut elf = Elf::new(code).first(|h| (h.vaddr, h.paddr) = (0x1000, 0x1000));
    (elf.kind, elf.entry) = (3, 0x1000);
    let elf = elf
        .with(data(0x2000, 16), &words(&[0, 42]))
        .with(Ph { flags: R, ..data(0x3000, 24) }, &words(&[0x2000, 8, 0x2008]))
        .with(Ph { kind: DYNAMIC, ..data(0x4000, 48) }, &words(&[7, 0x3000, 8, 24, 0, 0]));
    let bytes = elf.bytes();
    let image = Image::parse(&bytes).expect("right");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!(outcome.end, End::Halted);
    assert_eq!(outcome.registers.rbx, image.entry().0 + 0x1008);
    assert_eq!(outcome.registers.rax, 42);
}

#[test]
fn a_higher_half_image_runs_where_it_wants_to_be_seen() {
    let code = code!(high: "lea rax, [rip]" "mov rbx, [0x200000]" "hlt");
    const HIGH: u64 = 0xffff_ffff_8010_0000;
    let mut elf = Elf::new(code).first(|h| h.vaddr = HIGH);
    elf.entry = HIGH;
    // Data that lies in low memory, and is seen high: both addresses show the same.
    let elf = elf.with(Ph { vaddr: HIGH + 0x10_0000, ..data(0x20_0000, 8) }, &7u64.to_le_bytes());
    let bytes = elf.bytes();
    let image = Image::parse(&bytes).expect("right");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!(outcome.end, End::Halted);
    assert_eq!((outcome.registers.rax, outcome.registers.rbx), (HIGH + 7, 7));
    let found = vm.translate(Gva(HIGH)).expect("sregs").expect("mapped");
    assert_eq!((found.gpa, found.writable, found.executable), (Gpa(0x10_0000), false, true));
    // Its place in memory is no way around its permissions.
    let found = vm.translate(Gva(0x10_0000)).expect("sregs").expect("mapped");
    assert!(!found.writable && !found.executable);
}

#[test]
fn the_most_memory_there_can_be_is_addressable() {
    let code = code!(most: "mov rdi, 0xffffffff8" "mov qword ptr [rdi], 42" "mov rax, [rdi]" "hlt");
    let image = Image::flat(code).expect("code");
    let most = portcall::layout::MEMORY_MAX;
    let mut vm = Vm::builder(&kvm(), &image).memory(most).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 42));
}

#[test]
fn the_least_memory_there_can_be_runs() {
    let mut elf = Elf::new(code!(least: "mov eax, 42" "hlt"))
        .first(|h| (h.vaddr, h.paddr, h.flags) = (0x1000, 0x1000, RX));
    elf.entry = 0x1000;
    let bytes = elf.bytes();
    let image = Image::parse(&bytes).expect("right");
    let mut vm = Vm::builder(&kvm(), &image).memory(MIB).build().expect("builds");
    assert_eq!(vm.run().expect("runs").registers.rax, 42);
}

#[test]
fn an_exception_has_the_registers_of_the_faulting_instruction() {
    let outcome = run(code!(ud2: "mov ebx, 5" "mov rsp, 0x1234" "ud2"));
    let End::Exception(exception) = outcome.end else { panic!("{}", outcome.end) };
    assert_eq!((exception.vector, exception.error_code), (6, None));
    assert_eq!(exception.rip.0, 0x10_0000 + 5 + 7);
    assert_eq!((outcome.registers.rip, outcome.registers.rsp), (exception.rip.0, 0x1234));
    assert_eq!(outcome.registers.rbx, 5);

    let outcome = run(code!(pf: "mov byte ptr [0x28], 1"));
    let End::Exception(exception) = outcome.end else { panic!("{}", outcome.end) };
    assert_eq!(
        (exception.vector, exception.error_code, exception.cr2),
        (14, Some(2), Some(Gva(0x28)))
    );
}
