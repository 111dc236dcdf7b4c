//! What is said of each kind of end, whole, for guests whose addresses never change.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::kvm;
use inspect::{KvmKind, Style, explain};
use portcall::layout::MIB;
use portcall::{End, Gpa, Guest, Image, Limit, Ports, Ring, Vm};
use std::time::Duration;

/// What is said of an image without debug information, which these all are.
const NO_LINES: &str = "   = no source lines: it has no debug information; build it with -g, or \
                        debug = \"line-tables-only\"\n";

/// The explanation of a flat guest's end, without its registers.
fn words(code: &[u8], ring: Ring) -> String {
    let image = Image::flat(code).expect("code");
    // More than any of these needs on a busy machine.
    let limit = Limit::Time(Duration::from_secs(1));
    let mut vm = Vm::builder(&kvm(), &image)
        .ring(ring)
        .memory(16 * MIB)
        .limit(limit)
        .build()
        .expect("builds");
    let outcome = vm.run().expect("runs");
    let said = explain(&vm, &image, &outcome, code, KvmKind::Pvm).expect("explains");
    let text = said.render(Style { colour: false });
    let (words, registers) = text.split_once("registers:\n").unwrap_or((&text, ""));
    assert_eq!(registers.is_empty(), !said.show_registers);
    // Where the page tables begin depends on how many there may be.
    let tables = vm.layout().tables.start;
    words
        .replace(NO_LINES, "")
        .replace(&format!("{tables:#x}"), "TABLES")
        .replace(&format!("PT[{}]", tables >> 12 & 511), "PT[..]")
}

#[track_caller]
fn assert_says(code: &[u8], expected: &str) {
    assert_eq!(words(code, Ring::Zero), expected);
}

#[test]
fn a_write_through_a_null_pointer() {
    assert_says(
        code!(null: "mov dword ptr [0x18], 1"),
        "\
error: page fault (#PF): write to address 0x18: null pointer + 0x18
   = at 0x100000: mov dword ptr [0x18], 1
   = error code 0x2: write, page not present, ring 0
   = page walk: CR3 TABLES, PML4[0], PDPT[0], PD[0], PT[0] not present
backtrace:
   0: 0x100000
",
    );
}

#[test]
fn a_read_beyond_ram() {
    assert_says(
        code!(beyond: "mov rax, [0x1000008]"),
        "\
error: page fault (#PF): read of 0x1000008: nothing is mapped there; RAM ends at 0x1000000
   = at 0x100000: mov rax, [0x1000008]
   = error code 0x0: read, page not present, ring 0
   = page walk: CR3 TABLES, PML4[0], PDPT[0], PD[8] not present
backtrace:
   0: 0x100000
",
    );
}

#[test]
fn a_write_to_the_page_tables() {
    assert_says(
        code!(tables: "mov rax, cr3" "mov [rax], rax"),
        "\
error: page fault (#PF): write to a read-only page of the page tables, at TABLES
   = at 0x100003: mov [rax], rax
   = error code 0x3: write, page present, ring 0
   = page walk: CR3 TABLES, PML4[0], PDPT[0], PD[7], PT[..] TABLES r---
backtrace:
   0: 0x100003
",
    );
}

#[test]
fn a_jump_into_the_stack() {
    assert_says(
        code!(stack: "lea rax, [rsp - 16]" "call rax"),
        "\
error: page fault (#PF): jump into no-execute memory at 0xffffe8 (the stack)
   = at 0xffffe8: add [rax], al
   = error code 0x11: instruction fetch, page present, ring 0
   = page walk: CR3 TABLES, PML4[0], PDPT[0], PD[7], PT[511] 0xfff000 rw--
backtrace:
   0: 0xffffe8
   1: 0x100007
",
    );
}

#[test]
fn a_push_below_the_stack() {
    assert_says(
        code!(push: "lea rsp, [rsp - 0x40000 + 8]" "push rax"),
        "\
error: page fault (#PF): stack overflow: write 8 bytes below the stack
   = at 0x100008: push rax
   = the stack has 256 KiB, all of them used
   = error code 0x2: write, page not present, ring 0
   = page walk: CR3 TABLES, PML4[0], PDPT[0], PD[7], PT[447] not present
backtrace:
   0: 0x100008
",
    );
}

#[test]
fn a_division_that_does_not_fit() {
    assert_says(
        code!(quotient: "mov edx, 5" "mov eax, 0" "mov ecx, 2" "div ecx"),
        "\
error: divide error (#DE): the quotient by ecx = 0x2 does not fit
   = at 0x10000f: div ecx
backtrace:
   0: 0x10000f
",
    );
}

#[test]
fn an_instruction_that_there_is_not() {
    // In ring 3, where the processor itself says so.
    let text = words(code!(none: ".byte 0x0f, 0xff, 0xff"), Ring::Three);
    assert_eq!(
        text,
        "\
error: invalid opcode (#UD): this processor does not execute `ud0 edi, edi`
   = at 0x100000: ud0 edi, edi
   = the guest's CPUID shows no extensions; build it for x86_64-unknown-none, or for baseline x86-64
backtrace:
   0: 0x100000
",
    );
}

#[test]
fn an_address_that_is_not_canonical() {
    assert_says(
        code!(canonical: "mov rbx, 0x1234567890abcdef" "mov al, [rbx + 2]"),
        "\
error: general protection fault (#GP): address 0x1234567890abcdf1 is not canonical: bits 63 to 47 differ
   = at 0x10000a: mov al, [rbx+2]
backtrace:
   0: 0x10000a
",
    );
}

#[test]
fn an_entry_that_returns() {
    let text = words(code!(returns: "ret"), Ring::Zero);
    assert!(
        text.contains("the guest's entry function returned, and there is nothing to return to"),
        "{text}"
    );
    assert!(text.contains("end with a write to port 0xf4, or HLT"), "{text}");
}

#[test]
fn a_selector_that_there_is_not() {
    assert_says(
        code!(selector: "mov eax, 0x50" "mov ds, eax"),
        "\
error: general protection fault (#GP): selector 0x50, entry 10 of the GDT, is none that may be used for this
   = at 0x100005: mov ds, ax
   = error code 0x50
backtrace:
   0: 0x100005
",
    );
}

#[test]
fn a_single_step_and_a_breakpoint() {
    let step =
        words(code!(step: "pushfq" "or dword ptr [rsp], 0x100" "popfq" "nop" "nop"), Ring::Zero);
    assert!(
        step.starts_with("error: debug exception (#DB): a single step, with RFLAGS.TF set\n"),
        "{step}"
    );
    let text = words(code!(int3: "int3" "nop"), Ring::Three);
    assert!(
        text.starts_with("error: breakpoint (#BP): the guest executed INT3\nbacktrace"),
        "{text}"
    );
}

#[test]
fn calls_of_other_worlds_are_told_from_ours() {
    for code in [code!(int80: "int 0x80"), code!(syscall: "xor ecx, ecx" "syscall")] {
        for ring in [Ring::Zero, Ring::Three] {
            let text = words(code, ring);
            assert!(text.contains("a hypercall here is an OUT"), "{ring:?} {text}");
        }
    }
}

#[test]
fn a_register_that_cannot_be_written() {
    assert_says(
        code!(msr: "mov ecx, 0xdead" "xor eax, eax" "xor edx, edx" "wrmsr"),
        "\
error: general protection fault (#GP): KVM does not let MSR 0xdead be written, or not with this value
   = at 0x100009: wrmsr
backtrace:
   0: 0x100009
",
    );
}

#[test]
fn a_triple_fault_by_an_empty_interrupt_table() {
    let text = words(code!(triple: "push 0" "push 0" "lidt [rsp]" "ud2"), Ring::Zero);
    if KvmKind::detect() == KvmKind::Svm {
        let cause =
            "this KVM resets the vCPU at a triple fault: where it happened, and why, is gone";
        assert!(text.contains("error: triple fault") && text.contains(cause), "{text}");
        return;
    }
    assert_eq!(
        text,
        "\
error: triple fault: an exception, and its handling failed as well
   = at 0x100008: ud2
   = the guest has loaded an interrupt table of its own: 0 gates at 0x0
backtrace:
   0: 0x100008
",
    );
}

#[test]
fn a_guest_that_broke_its_page_tables() {
    let text = words(code!(broken: "mov rax, 0x800000000" "mov cr3, rax" "nop"), Ring::Zero);
    let end = match KvmKind::detect() {
        KvmKind::Svm => "error: ran longer than its limit of 1s",
        _ => "error: triple fault",
    };
    for expected in [
        end,
        "its page tables no longer map its own entry: CR3 0x800000000, which is not RAM",
        "memory is read below as the host had mapped it at the start",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_guest_that_spins_and_one_that_uses_vmcall() {
    assert_says(
        code!(spins: "2: jmp 2b"),
        "\
error: ran longer than its limit of 1s
   = at 0x100000: jmp short 0x100000
backtrace:
   0: 0x100000
",
    );
    // On a KVM that answers it the guest goes on and halts; kvm_pvm never comes back.
    let code = code!(vmcall: "vmcall" "hlt");
    let image = Image::flat(code).expect("code");
    let limit = Limit::Time(Duration::from_millis(200));
    let mut vm = Vm::builder(&kvm(), &image).limit(limit).build().expect("builds");
    let outcome = vm.run().expect("runs");
    let said = explain(&vm, &image, &outcome, code, KvmKind::Unknown).expect("explains");
    match outcome.end {
        End::Halted if KvmKind::detect() != KvmKind::Pvm => {}
        _ => assert!(said.render(Style::default()).contains("never reach this host"), "{said:?}"),
    }
}

#[test]
fn a_panic_shows_no_registers() {
    let code = code!(panics:
        "lea rdi, [rip + 3f]" "mov esi, 5" "lea rdx, [rip + 4f]" "mov ecx, 4"
        "mov r8d, 7" "mov r9d, 9" "out 0xf5, al" "hlt"
        "3: .ascii \"oh no\"" "4: .ascii \"a.rs\""
    );
    let text = words(code, Ring::Zero);
    assert!(text.starts_with("error: panicked: oh no\n  --> a.rs:7:9\nbacktrace:\n"), "{text}");
}

#[test]
fn control_characters_of_a_guest_do_not_reach_the_terminal() {
    let code = code!(escape:
        "lea rdi, [rip + 3f]" "mov esi, 6" "xor ecx, ecx" "out 0xf5, al" "hlt"
        "3: .byte 0x1b" ".ascii \"[31m!\""
    );
    let text = words(code, Ring::Zero);
    assert!(text.starts_with("error: panicked: \u{fffd}[31m!\n"), "{text:?}");
}

#[test]
fn ring_3_differs_in_its_error_codes_and_names_what_needs_ring_0() {
    let read = code!(user_read: "mov rax, [0x18]");
    let text = words(read, Ring::Three);
    assert!(text.contains("read of address 0x18: null pointer + 0x18"), "{text}");
    assert!(text.contains("error code 0x4: read, page not present, ring 3"), "{text}");

    let host = words(code!(user_tables: "mov rax, [0xfac000]"), Ring::Three);
    assert!(host.contains("), which ring 3 may not touch"), "{host}");

    let lidt = words(code!(user_lidt: "lidt [rsp]"), Ring::Three);
    assert!(lidt.contains("`lidt [rsp]` needs ring 0"), "{lidt}");
    assert!(lidt.contains("run the guest without --ring 3"), "{lidt}");
}

#[test]
fn what_kvm_cannot_emulate_is_disassembled_and_has_a_remedy() {
    let code = code!(popcnt: "mov ebx, 7" "popcnt eax, ebx" "hlt");
    let image = Image::flat(code).expect("code");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    let outcome = vm.run().expect("runs");
    if KvmKind::detect() != KvmKind::Pvm {
        // With hardware virtualization there is nothing to refuse.
        assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 3));
        return;
    }
    let said = explain(&vm, &image, &outcome, code, KvmKind::Pvm).expect("explains");
    let text = said.render(Style::default());
    for expected in [
        "error: KVM cannot emulate `popcnt eax, ebx`\n",
        "   = suberror 1, KVM_INTERNAL_ERROR_EMULATION\n",
        "   = bytes at RIP: f3 0f b8 c3 f4",
        "run with --ring 3\n",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    // And the remedy is one.
    let mut vm = Vm::builder(&kvm(), &image).ring(Ring::Three).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 3));
}

#[test]
fn a_corrupt_stack_ends_the_walk() {
    // RBP points at itself, in a circle, and nowhere: no walk goes round or out.
    for code in [
        code!(circle: "lea rbp, [rsp - 64]" "mov [rbp], rbp" "lea rax, [rip]" "mov [rbp + 8], rax" "ud2"),
        code!(nowhere: "mov rbp, -8" "ud2"),
        code!(stray: "mov rbp, 0x1000000" "ud2"),
    ] {
        let text = words(code, Ring::Zero);
        assert!(text.contains("UD2") && text.lines().count() < 12, "{text}");
    }
}

#[test]
fn common_protection_faults_have_their_reasons() {
    for (code, reason) in [
        (
            code!(wild_call: "mov rax, 0x1234567890abcdef" "call rax"),
            "0x1234567890abcdef is not canonical",
        ),
        (
            code!(wild_copy: "mov rsi, 0x1234567890abcdef" "mov ecx, 1" "rep movsq"),
            "is not canonical",
        ),
        (code!(wild_return: "mov rax, 0x1234567890abcdef" "push rax" "ret"), "is not canonical"),
        (code!(unaligned: "lea rax, [rsp - 9]" "movaps xmm0, [rax]"), "a multiple of 16"),
    ] {
        let text = words(code, Ring::Three);
        assert!(text.starts_with("error: general protection fault (#GP): "), "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn interrupts_need_ring_0_where_the_processor_says_so() {
    let text = words(code!(interrupts: "cli" "hlt"), Ring::Three);
    // IOPL is 3, which hardware virtualization honours and kvm_pvm does not.
    let expected = match KvmKind::detect() {
        KvmKind::Pvm => "`cli` needs ring 0",
        _ => "end: halted",
    };
    assert!(text.contains(expected), "{text}");
}

/// What is said at the end of a VM that a test has prepared itself.
fn said(vm: &mut Vm, image: &Image<'_>) -> String {
    let outcome = vm.run().expect("runs");
    let said = explain(vm, image, &outcome, &[], KvmKind::Unknown).expect("explains");
    let text = said.render(Style { colour: false });
    let words = text.split_once("registers:\n").map_or(text.as_str(), |(words, _)| words);
    words.replace(NO_LINES, "")
}

#[test]
fn an_access_outside_ram_shows_its_page_walk() {
    let image = Image::flat(code!(mmio_read: "mov eax, [0x400010]")).expect("code");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    // The third entry of the page directory, the third page of the tables: 2 MiB from 4 MiB on.
    let tables = vm.layout().tables.start;
    let entry = Gpa(tables + 2 * 4096 + 2 * 8);
    assert_eq!(vm.memory().load_u64(entry).expect("RAM") & !0xfff & !(1 << 63), 0x40_0000);
    vm.memory().store_u64(entry, 0xfee0_0083).expect("RAM");
    let expected = format!(
        "\
error: read from guest-physical 0xfee00010, where there is no RAM
   = at 0x100000: mov eax, [0x400010]
   = page walk of 0x400010: CR3 {tables:#x}, PML4[0], PDPT[0], PD[2] 0xfee00000 rwx-
   = the host maps nothing but RAM, so the guest has mapped this itself; there is no device at any address
backtrace:
   0: 0x100000
"
    );
    assert_eq!(said(&mut vm, &image), expected);
}

#[test]
fn a_handler_that_failed_is_named_with_the_guest_where_it_was() {
    struct Fails;
    impl Ports for Fails {
        fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
            Err(End::HandlerFailed { message: "out of dice".to_owned() })
        }
    }
    let image = Image::flat(code!(asks: "nop" "out 0x80, al" "nop")).expect("code");
    let mut vm = Vm::builder(&kvm(), &image).ports(0x80..=0x80, Fails).build().expect("builds");
    let text = said(&mut vm, &image);
    let expected = "error: a handler on the host failed: out of dice\nbacktrace:\n   0: 0x10000";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_stopped_guest_shows_where_it_was() {
    let image = Image::flat(code!(stopped: "nop" "hlt")).expect("code");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    vm.stopper().stop();
    let expected =
        "error: stopped by the host\n   = at 0x100000: nop\nbacktrace:\n   0: 0x100000\n";
    assert_eq!(said(&mut vm, &image), expected);
}

#[test]
fn a_segment_that_is_not_present_names_its_selector() {
    let code = code!(not_present: "mov ax, 0x38" "mov ss, ax");
    let text = words(code, Ring::Zero);
    assert!(
        text.contains("selector 0x38, entry 7 of the GDT, is none that may be used for this"),
        "{text}"
    );
}

#[test]
fn colour_is_there_where_it_is_wanted() {
    let image = Image::flat(code!(colour: "ud2")).expect("code");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    let outcome = vm.run().expect("runs");
    let said = explain(&vm, &image, &outcome, &[], KvmKind::Unknown).expect("explains");
    assert!(
        said.render(Style { colour: true }).starts_with("\x1b[1;31merror\x1b[0m: \x1b[1minvalid")
    );
    assert!(!said.render(Style { colour: false }).contains('\x1b'));
}

#[test]
fn a_normal_end_is_no_error() {
    let text = words(code!(normal: "nop" "hlt"), Ring::Zero);
    assert_eq!(text, "end: halted\nbacktrace:\n   0: 0x100002\n");
}

#[test]
fn a_message_of_many_lines_is_cut_and_set_in() {
    let code = code!(lines:
        "lea rdi, [rip + 3f]" "mov esi, 64" "xor ecx, ecx" "out 0xf5, al" "hlt"
        "3: .rept 32" ".ascii \"x\\n\"" ".endr"
    );
    let text = words(code, Ring::Zero);
    assert!(text.starts_with("error: panicked: x\n       x\n"), "{text}");
    assert!(text.contains("... and 17 more lines"), "{text}");
}

#[test]
fn a_long_line_is_cut_and_says_so() {
    let text = inspect::printable(&"x".repeat(16 << 20));
    assert_eq!(text, "x".repeat(1000) + "...");
    assert_eq!(inspect::printable(&"x".repeat(1000)), "x".repeat(1000));
}

#[test]
fn what_the_guest_says_of_itself_opens_no_file() {
    let code = code!(names_a_file:
        "lea rdi, [rip + 3f]" "mov esi, 2" "lea rdx, [rip + 4f]" "mov ecx, 14"
        "mov r8d, 1" "mov r9d, 1" "out 0xf5, al" "hlt"
        "3: .ascii \"oh\"" "4: .ascii \"tests/words.rs\""
    );
    let text = words(code, Ring::Zero);
    assert!(text.starts_with("error: panicked: oh\n  --> tests/words.rs:1:1\nbacktrace"), "{text}");
}
