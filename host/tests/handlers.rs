//! What a handler can do with the guest that waits for its answer.

mod common;

use common::kvm;
use portcall::exit::ExitKind;
use portcall::layout::HOLE_START;
use portcall::{Capture, End, Gpa, Guest, Gva, Image, Ports, Vm};
use std::io::Write;
use std::time::Duration;

/// Prints what is written to it, between brackets.
struct Printer;

impl Ports for Printer {
    fn write(&mut self, guest: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
        guest.print(format!("[{value}]"));
        Ok(())
    }
}

#[test]
fn a_handlers_words_stand_where_they_were_said() {
    // RDI is the boot information, its word 5 the console window: 'w' goes there, behind an index
    // that says so; then a number to the handler, a byte to the console port, and a number.
    let code = code!(order:
        "mov rbx, [rdi + 40]" "mov byte ptr [rbx + 64], 'w'" "mov qword ptr [rbx], 1"
        "mov dx, 0x300" "mov al, 7" "out dx, al"
        "mov al, 'p'" "out 0xe9, al"
        "mov al, 8" "out dx, al"
        "mov byte ptr [rbx + 65], 'W'" "mov qword ptr [rbx], 2" "hlt"
    );
    let image = Image::flat(code).expect("code");
    let text = Capture::new();
    let mut vm = Vm::builder(&kvm(), &image)
        .ports(0x300..=0x300, Printer)
        .console(text.clone())
        .build()
        .expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!(outcome.end, End::Halted);
    assert_eq!(text.text(), "w[7]p[8]W");
    // What the host says is no text of the guest's.
    assert_eq!(outcome.stats.console_bytes, 3);
}

#[test]
fn a_handler_that_prints_without_end_fills_no_memory() {
    /// Prints a KiB at each write, and looks at reads whether text has been handed on.
    struct Flood(Capture);
    impl Ports for Flood {
        fn write(&mut self, guest: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
            guest.print([b'x'; 1024]);
            Ok(())
        }

        fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
            Ok(u32::try_from(self.0.bytes().len()).unwrap_or(u32::MAX))
        }
    }
    let code = code!(flood:
        "mov dx, 0x300" "mov ecx, 100" "2: out dx, al" "loop 2b" "in eax, dx" "hlt"
    );
    let image = Image::flat(code).expect("code");
    let text = Capture::new();
    let mut vm = Vm::builder(&kvm(), &image)
        .ports(0x300..=0x300, Flood(text.clone()))
        .console(text.clone())
        .build()
        .expect("builds");
    // There is no tick: only a full buffer hands anything on before the end.
    assert_eq!(vm.run().expect("runs").registers.rax, 64 * 1024);
    assert_eq!(text.bytes().len(), 100 * 1024);
}

#[test]
fn an_address_that_is_mapped_to_no_ram_is_translated_and_not_read() {
    /// Is given CR3, maps a GiB of nothing, and tries it.
    struct Mapper(Capture);
    impl Ports for Mapper {
        fn write(&mut self, guest: &mut Guest<'_>, _: u16, _: u8, cr3: u32) -> Result<(), End> {
            let memory = guest.memory();
            let pdpt = memory.load_u64(Gpa(cr3.into())).expect("a table") & !0xfff;
            // The last GiB of the first PML4 entry: present, and one large page, in the hole.
            memory.store_u64(Gpa(pdpt + 8 * 511), HOLE_START | 0x81).expect("a table");
            let gva = Gva((511 << 30) + 0x1234);
            let gpa = guest.translate(gva)?.expect("mapped").gpa;
            assert_eq!(gpa, Gpa(HOLE_START + 0x1234));
            assert_eq!(guest.memory().host_address(gpa), None);
            assert!(!guest.read_virtual(gva, &mut [0; 4])?);
            self.0.write_all(b"tried").expect("a capture takes everything");
            Ok(())
        }
    }
    let code = code!(no_ram: "mov dx, 0x300" "mov rax, cr3" "out dx, eax" "hlt");
    let image = Image::flat(code).expect("code");
    let done = Capture::new();
    let mut vm = Vm::builder(&kvm(), &image)
        .ports(0x300..=0x300, Mapper(done.clone()))
        .build()
        .expect("builds");
    assert_eq!(vm.run().expect("runs").end, End::Halted);
    assert_eq!(done.text(), "tried");
}

#[test]
fn when_text_is_taken_changes_nothing_that_the_guest_can_see() {
    // RDI is the boot information, its word 5 the console window: some text, then a wait for many
    // ticks, and what the read index says; the same behind a flush.
    let code = code!(index:
        "mov rbx, [rdi + 40]" "mov qword ptr [rbx], 7"
        "mov ecx, 30000" "2: loop 2b" "mov r8, [rbx + 8]"
        "out 0xe8, al" "mov r9, [rbx + 8]" "mov qword ptr [rbx], 9"
        "mov ecx, 30000" "3: loop 3b" "mov r10, [rbx + 8]" "hlt"
    );
    let image = Image::flat(code).expect("code");
    let text = Capture::new();
    let mut vm = Vm::builder(&kvm(), &image)
        .console(text.clone())
        .tick(Duration::from_millis(1))
        .build()
        .expect("builds");
    let r = vm.run().expect("runs").registers;
    assert_eq!((r.r8, r.r9, r.r10), (0, 7, 7));
    assert_eq!(text.bytes().len(), 9);
    assert!(vm.stats().exits_of(ExitKind::Interrupted) > 0);
}
