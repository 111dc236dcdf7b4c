//! Windows of memory-mapped I/O: what a handler is asked, in both rings, and what it may do. All of
//! these need KVM.

mod common;

use common::kvm;
use portcall::exit::ExitKind;
use portcall::layout::{HOLE_END, HOLE_START, MIB, PAGE};
use portcall::{
    Capture, End, Exit, ExitEvent, Gpa, Guest, Image, Limit, Mmio, Observer, Outcome, Ring, Step,
    Stop, Vm,
};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const AT: u64 = 0xd000_0000;

/// An access: address, bytes, and what is written.
type Access = (u64, u8, Option<u64>);

/// Notes what it is asked. Each byte that is read is the low byte of its address, plus 0x10.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Access>>>);

impl Notes {
    fn take(&self) -> Vec<Access> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Mmio for Notes {
    fn read(&mut self, _: &mut Guest<'_>, gpa: Gpa, size: u8) -> Result<u64, End> {
        self.0.lock().expect("no panic").push((gpa.0, size, None));
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| (gpa.0 + i + 0x10).to_le_bytes()[0]);
        // What is beyond the size is nobody's.
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&mut self, _: &mut Guest<'_>, gpa: Gpa, size: u8, value: u64) -> Result<(), End> {
        self.0.lock().expect("no panic").push((gpa.0, size, Some(value)));
        Ok(())
    }
}

/// Runs it with that window, in one ring.
fn run(code: &'static [u8], window: Range<u64>, ring: Ring) -> (Outcome, Vec<Access>) {
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    let notes = Notes::default();
    let builder = Vm::builder(&kvm, &image).memory(2 * MIB).ring(ring);
    let builder = builder.limit(Limit::Time(Duration::from_secs(20)));
    let outcome = builder.mmio(window, notes.clone()).build().expect("builds").run();
    (outcome.expect("runs"), notes.take())
}

const BOTH: [Ring; 2] = [Ring::Zero, Ring::Three];

#[test]
fn every_size_is_asked_as_it_is_and_only_its_bytes_are_taken() {
    let code = code!(mmio_sizes:
        "mov ebx, 0xd0000000" "mov rax, 0x8877665544332211"
        "mov [rbx], al" "mov [rbx + 2], ax" "mov [rbx + 4], eax" "mov [rbx + 8], rax"
        "mov rcx, -1" "mov cl, [rbx]" "mov rdx, -1" "mov dx, [rbx + 1]" "mov esi, [rbx + 3]"
        "mov rdi, [rbx + 0xff8]" "movsx r8, byte ptr [rbx + 0xff]" "hlt"
    );
    for ring in BOTH {
        let (outcome, seen) = run(code, AT..AT + PAGE, ring);
        assert_eq!(outcome.end, End::Halted, "{ring:?}");
        let asked = [
            (AT, 1, Some(0x11)),
            (AT + 2, 2, Some(0x2211)),
            (AT + 4, 4, Some(0x4433_2211)),
            (AT + 8, 8, Some(0x8877_6655_4433_2211)),
            (AT, 1, None),
            (AT + 1, 2, None),
            (AT + 3, 4, None),
            (AT + 0xff8, 8, None),
            (AT + 0xff, 1, None),
        ];
        assert_eq!(seen, asked, "{ring:?}");
        let r = outcome.registers;
        assert_eq!((r.rcx, r.rdx, r.rsi), (!0xef, !0xffff | 0x1211, 0x1615_1413), "{ring:?}");
        assert_eq!((r.rdi, r.r8), (0x0f0e_0d0c_0b0a_0908, 0xf), "{ring:?}");
        assert_eq!(outcome.stats.exits_of(ExitKind::Mmio), 9);
    }
}

#[test]
fn string_and_locked_instructions_come_one_access_after_the_other() {
    let strings = code!(mmio_strings:
        "cld" "mov esi, 0xd0000000" "lea rdi, [rip + 0x4000]" "mov ecx, 3" "rep movsb"
        "mov r8d, [rdi - 3]" "mov edi, 0xd0000010" "mov eax, 0x07060504" "mov ecx, 2" "rep stosd"
        "mov esi, 0xd0000000" "mov edi, 0xd0000020" "movsw" "hlt"
    );
    let locked = code!(mmio_locked:
        "mov ebx, 0xd0000000" "mov eax, 5" "lock add [rbx], eax" "xchg [rbx + 8], rax"
        "mov rcx, rax" "mov eax, 1" "lock xadd [rbx + 16], al" "lock bts dword ptr [rbx + 32], 0" "hlt"
    );
    for ring in BOTH {
        let (outcome, seen) = run(strings, AT..AT + PAGE, ring);
        assert_eq!((outcome.end, outcome.registers.r8 & 0xff_ffff), (End::Halted, 0x0012_1110));
        let read = |at, size| (AT + at, size, None);
        let write = |at, size, value| (AT + at, size, Some(value));
        let asked = [
            read(0, 1),
            read(1, 1),
            read(2, 1),
            write(0x10, 4, 0x0706_0504),
            write(0x14, 4, 0x0706_0504),
            read(0, 2),
            write(0x20, 2, 0x1110),
        ];
        assert_eq!(seen, asked, "{ring:?}");

        let (outcome, seen) = run(locked, AT..AT + PAGE, ring);
        assert_eq!(outcome.end, End::Halted, "{ring:?}");
        assert_eq!(outcome.registers.rcx, 0x1f1e_1d1c_1b1a_1918, "{ring:?}");
        let asked = [
            read(0, 4),
            write(0, 4, 0x1312_1115),
            read(8, 8),
            write(8, 8, 5),
            read(16, 1),
            write(16, 1, 0x21),
            read(32, 4),
            write(32, 4, 0x3332_3131),
        ];
        assert_eq!(seen, asked, "{ring:?}");
    }
}

#[test]
fn what_reaches_into_another_page_comes_in_two_and_what_leaves_the_window_faults() {
    let across = code!(mmio_across:
        "mov ebx, 0xd0000ffd" "mov rax, [rbx]" "mov rcx, 0x0807060504030201" "mov [rbx], rcx" "hlt"
    );
    let out = code!(mmio_out: "mov ebx, 0xd0000ffc" "mov rax, [rbx]" "hlt");
    let into = code!(mmio_into: "mov ebx, 0xcffffffc" "mov [rbx], rax" "hlt");
    for ring in BOTH {
        let (outcome, seen) = run(across, AT..AT + 2 * PAGE, ring);
        assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 0x1413_1211_100f_0e0d));
        let asked = [
            (AT + 0xffd, 3, None),
            (AT + 0x1000, 5, None),
            (AT + 0xffd, 3, Some(0x03_0201)),
            (AT + 0x1000, 5, Some(0x08_0706_0504)),
        ];
        assert_eq!(seen, asked, "{ring:?}");
        for (code, cr2) in [(out, AT + PAGE), (into, AT - 4)] {
            let (outcome, seen) = run(code, AT..AT + PAGE, ring);
            let End::Exception(fault) = outcome.end else { panic!("{ring:?}: {}", outcome.end) };
            assert_eq!((fault.vector, fault.cr2.map(|it| it.0)), (14, Some(cr2)), "{ring:?}");
            assert_eq!(seen, [], "{ring:?}");
        }
    }
}

#[test]
fn two_windows_side_by_side_share_an_access() {
    let code = code!(mmio_two: "mov ebx, 0xd0000ffe" "mov eax, [rbx]" "hlt");
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    for ring in BOTH {
        let (one, two) = (Notes::default(), Notes::default());
        let builder = Vm::builder(&kvm, &image).memory(2 * MIB).ring(ring);
        let builder = builder.mmio(AT + PAGE..AT + 2 * PAGE, two.clone());
        let mut vm = builder.mmio(AT..AT + PAGE, one.clone()).build().expect("builds");
        assert_eq!(vm.run().expect("runs").registers.rax, 0x1110_0f0e);
        assert_eq!(one.take(), [(AT + 0xffe, 2, None)]);
        assert_eq!(two.take(), [(AT + 0x1000, 2, None)]);
    }
}

#[test]
fn sixteen_bytes_at_once_are_two_accesses_of_eight() {
    let code = code!(mmio_sse:
        "mov ebx, 0xd0000000" "movups xmm0, [rbx]" "movq rax, xmm0" "movups [rbx + 32], xmm0" "hlt"
    );
    let (outcome, seen) = run(code, AT..AT + PAGE, Ring::Three);
    assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 0x1716_1514_1312_1110));
    let asked = [
        (AT, 8, None),
        (AT + 8, 8, None),
        (AT + 32, 8, Some(0x1716_1514_1312_1110)),
        (AT + 40, 8, Some(0x1f1e_1d1c_1b1a_1918)),
    ];
    assert_eq!(seen, asked);
}

#[test]
fn a_window_is_no_place_for_code() {
    let code = code!(mmio_jump: "mov eax, 0xd0000000" "jmp rax");
    for ring in BOTH {
        let (outcome, seen) = run(code, AT..AT + PAGE, ring);
        let End::Exception(fault) = outcome.end else { panic!("{ring:?}: {}", outcome.end) };
        assert_eq!((fault.vector, fault.rip.0), (14, AT), "{ring:?}");
        // An instruction fetch (SDM vol. 3, 5.7): no execute is what forbids it.
        assert_eq!(fault.error_code.map(|code| code & 0x10), Some(0x10), "{ring:?}");
        assert_eq!(seen, []);
    }
}

#[test]
fn windows_at_the_edges_of_the_hole_and_as_many_as_there_can_be() {
    let code = code!(mmio_edges:
        "mov ebx, 0xc0000000" "mov al, [rbx]" "mov ebx, 0xfffff000" "mov ah, [rbx + 0xfff]" "hlt"
    );
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    for ring in BOTH {
        let notes = Notes::default();
        let mut builder = Vm::builder(&kvm, &image).memory(2 * MIB).ring(ring);
        for i in 1..63 {
            let at = HOLE_START + i * 9 * MIB;
            builder = builder.mmio(at..at + PAGE, notes.clone());
        }
        let ends = [HOLE_START..HOLE_START + PAGE, HOLE_END - PAGE..HOLE_END];
        for window in ends {
            builder = builder.mmio(window, notes.clone());
        }
        let mut vm = builder.build().expect("builds");
        assert_eq!(vm.layout().windows.len(), 64);
        assert_eq!(vm.run().expect("runs").end, End::Halted, "{ring:?}");
        assert_eq!(notes.take(), [(HOLE_START, 1, None), (HOLE_END - 1, 1, None)], "{ring:?}");
    }
}

#[test]
fn without_a_window_and_without_a_handler_it_is_no_ram() {
    /// One that overrides nothing.
    struct Silent;
    impl Mmio for Silent {}
    let code = code!(mmio_silent:
        "mov ebx, 0xd0000000" "mov [rbx], ebx" "mov rax, [rbx]" "xor ecx, ecx" "mov cl, [rbx]" "hlt"
    );
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    for ring in BOTH {
        let builder = || Vm::builder(&kvm, &image).memory(2 * MIB).ring(ring);
        let mut vm = builder().mmio(AT..AT + PAGE, Silent).build().expect("builds");
        let snapshot = vm.snapshot().expect("taken");
        let window = AT..AT + PAGE;
        assert_eq!(snapshot.windows(), [window]);
        let r = vm.run().expect("runs").registers;
        assert_eq!((r.rax, r.rcx), (u64::MAX, 0xff), "{ring:?}");
        // The page tables have it, and nobody is there.
        let end =
            Vm::from_snapshot(&kvm, &snapshot).build().expect("builds").run().expect("runs").end;
        assert_eq!(end, End::UnmappedAccess { gpa: Gpa(AT), write: true }, "{ring:?}");
        // They do not have it.
        let mut plain = builder().build().expect("builds");
        assert!(plain.layout().windows.is_empty());
        assert!(matches!(plain.run().expect("runs").end, End::Exception(it) if it.vector == 14));
        let error = plain.restore(&snapshot).expect_err("another").to_string();
        assert!(error.contains("windows"), "{error}");
        let wide = Vm::from_snapshot(&kvm, &snapshot).mmio(AT..AT + 2 * PAGE, Silent).build();
        let error = wide.expect_err("not in it").to_string();
        assert!(error.contains("0xd0000000 to 0xd0001000"), "{error}");
        let error = builder().mmio(0..PAGE, Silent).build().expect_err("RAM").to_string();
        assert!(error.contains("3 to 4 GiB"), "{error}");
    }
}

#[test]
fn a_handler_that_fails_or_panics_ends_the_run_with_its_words() {
    struct Broken(bool);
    impl Mmio for Broken {
        fn read(&mut self, _: &mut Guest<'_>, gpa: Gpa, _: u8) -> Result<u64, End> {
            if self.0 {
                panic!("no such register: {gpa}");
            }
            Err(End::HandlerFailed { message: "dead".to_owned() })
        }
    }
    let image = Image::flat(code!(mmio_broken: "mov ebx, 0xd0000000" "mov eax, [rbx]" "hlt"));
    let (kvm, image) = (kvm(), image.expect("code"));
    for (panics, words) in [(true, "I/O at 0xd0000000 panicked: no such register"), (false, "dead")]
    {
        for ring in BOTH {
            let builder = Vm::builder(&kvm, &image).memory(2 * MIB).ring(ring);
            let mut vm = builder.mmio(AT..AT + PAGE, Broken(panics)).build().expect("builds");
            let end = vm.run().expect("runs").end;
            assert!(
                matches!(&end, End::HandlerFailed { message } if message.contains(words)),
                "{end}"
            );
            assert_eq!(vm.run().expect("runs").end, end);
        }
    }
}

#[test]
fn a_handler_has_all_of_the_guest_and_observers_see_the_access() {
    /// Prints, counts, annotates; and what it is told to read, it may not read from a window.
    struct Busy;
    impl Mmio for Busy {
        fn write(&mut self, guest: &mut Guest<'_>, gpa: Gpa, _: u8, value: u64) -> Result<(), End> {
            guest.print(format!("[{}]", guest.stats().exits_of(ExitKind::Mmio)));
            assert!(guest.annotate("value", &value.to_string()));
            assert_eq!(guest.registers()?.rbx, gpa.0);
            guest.memory().write(Gpa(0x8000), b"told").expect("RAM");
            assert_eq!(guest.claims().read(0x8000, 4).expect("RAM"), b"told");
            guest.claims().read(gpa.0, 4).expect_err("no memory is there");
            Ok(())
        }
    }
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);
    impl Observer for Seen {
        fn step(&mut self, step: &Step<'_>) {
            if step.number == 11 {
                self.0.lock().expect("no panic").push(format!("{}: {}", step.what, step.detail));
            }
        }
        fn exit(&mut self, event: &ExitEvent<'_>) {
            self.0.lock().expect("no panic").push(event.exit.to_string());
        }
    }
    let code = code!(mmio_busy: "mov ebx, 0xd0000000" "mov dword ptr [rbx], 42" "2: jmp 2b");
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    for ring in BOTH {
        let (text, seen) = (Capture::new(), Seen::default());
        let builder = Vm::builder(&kvm, &image).memory(2 * MIB).ring(ring).observe(seen.clone());
        let builder = builder.mmio(AT..AT + PAGE, Busy).console(text.clone());
        let mut vm =
            builder.limit(Limit::Time(Duration::from_millis(300))).build().expect("builds");
        assert!(matches!(vm.step().expect("steps"), Stop::Exit(Exit::Mmio(_))));
        let outcome = vm.run().expect("runs");
        assert!(matches!(outcome.end, End::LimitReached(Limit::Time(_))), "{}", outcome.end);
        assert_eq!((text.text(), outcome.annotations.get("value")), ("[1]".to_owned(), Some("42")));
        let access = "write of 0x2a to 0xd0000000, 4 bytes, outside RAM";
        assert_eq!(
            seen.0.lock().expect("no panic")[..2],
            [access.to_owned(), format!("answer: {access}")]
        );
    }
}

#[test]
fn a_limit_of_exits_and_a_stop_hold_in_a_storm_of_accesses() {
    let image =
        Image::flat(code!(mmio_storm: "mov ebx, 0xd0000000" "2: inc byte ptr [rbx]" "jmp 2b"));
    let (kvm, image) = (kvm(), image.expect("code"));
    for ring in BOTH {
        let builder = Vm::builder(&kvm, &image).memory(2 * MIB).ring(ring);
        let builder = builder.mmio(AT..AT + PAGE, Notes::default()).limit(Limit::Exits(101));
        let outcome = builder.build().expect("builds").run().expect("runs");
        assert_eq!(outcome.end, End::LimitReached(Limit::Exits(101)));

        let builder = Vm::builder(&kvm, &image).memory(2 * MIB).ring(ring);
        let mut vm = builder.mmio(AT..AT + PAGE, Notes::default()).build().expect("builds");
        let stopper = vm.stopper();
        let end = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                stopper.stop();
            });
            vm.run().expect("runs").end
        });
        assert_eq!(end, End::Stopped);
    }
}
