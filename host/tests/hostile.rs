//! Instructions and addresses that are not for a guest, each in a VM of its own, in both rings:
//! every run ends by itself or by its limit, as a named end.

mod common;

use common::elf::Elf;
use common::kvm;
use portcall::layout::{GIB, MIB, PAGE};
use portcall::{End, Gpa, Image, Kvm, Limit, Ring, Vm};
use std::time::{Duration, Instant};

const RINGS: [Ring; 2] = [Ring::Zero, Ring::Three];

/// Beyond the limit, this is a hang.
const DEADLINE: Duration = Duration::from_secs(5);

fn built(kvm: &Kvm, code: &[u8], ring: Ring) -> Vm {
    let file = Elf::new(code).bytes();
    let image = Image::parse(&file).expect("an image");
    let limit = Limit::Time(Duration::from_millis(200));
    Vm::builder(kvm, &image).ring(ring).memory(4 * MIB).limit(limit).build().expect("builds")
}

/// Runs it to its end, which comes.
fn end(vm: &mut Vm, what: &str) -> End {
    let start = Instant::now();
    let outcome = vm.run().expect(what);
    assert!(start.elapsed() < DEADLINE, "{what}: {:?}", start.elapsed());
    outcome.end
}

/// The ends that an instruction may have which the guest is not for, or the guest for it.
fn is_named(end: &End) -> bool {
    matches!(
        end,
        End::Halted
            | End::Exception(_)
            | End::TripleFault
            | End::EmulationFailed { .. }
            | End::UnmappedAccess { .. }
            | End::LimitReached(_)
    )
}

/// A general protection fault, or an invalid opcode.
fn is_refused(end: &End) -> bool {
    matches!(end, End::Exception(fault) if matches!(fault.vector, 6 | 13))
}

/// Instructions by name; each is followed by HLT.
macro_rules! instructions {
    ($($name:ident: $line:literal)*) => {
        [$((stringify!($name), code!($name: $line "hlt"))),*]
    };
}

#[test]
fn ring_3_has_no_instruction_of_ring_0() {
    let instructions = instructions! {
        of_invd: "invd" of_wbinvd: "wbinvd" of_clts: "clts" of_invlpg: "invlpg [rdi]"
        of_lmsw: "lmsw ax" of_ltr: "ltr ax" of_lldt: "lldt ax" of_lgdt: "lgdt [rdi]"
        of_lidt: "lidt [rdi]" of_rdmsr: "rdmsr" of_wrmsr: "wrmsr" of_swapgs: "swapgs"
        of_sysretq: "sysretq" of_sysexit: "sysexit" of_rsm: "rsm" of_cr0: "mov cr0, rax"
        of_cr2: "mov cr2, rax" of_cr3: "mov cr3, rax" of_cr4: "mov cr4, rax"
        of_cr8: "mov cr8, rax" of_dr0: "mov dr0, rax" of_dr7: "mov dr7, rax"
        of_dr7_read: "mov rax, dr7" of_cr0_read: "mov rax, cr0" of_vmxon: "vmxon [rdi]"
        of_vmlaunch: "vmlaunch" of_vmrun: "vmrun" of_clgi: "clgi" of_invpcid: "invpcid rax, [rdi]"
        of_xsetbv: "xsetbv" of_monitor: "monitor" of_mwait: "mwait"
    };
    let kvm = kvm();
    for (name, code) in instructions {
        let end = end(&mut built(&kvm, code, Ring::Three), name);
        assert!(is_refused(&end), "{name}: {end}");
    }
}

#[test]
fn every_instruction_has_a_named_end() {
    let instructions = instructions! {
        invd: "invd" wbinvd: "wbinvd" clts: "clts" lmsw: "mov eax, -1; lmsw ax" smsw: "smsw rax"
        rdpmc: "rdpmc" rdtsc: "rdtsc" rdtscp: "rdtscp" rdrand: "rdrand rax" rdseed: "rdseed rax"
        monitor: "monitor" mwait: "mwait" xgetbv: "xor ecx, ecx; xgetbv"
        xsetbv: "xor ecx, ecx; mov eax, 7; xor edx, edx; xsetbv"
        syscall: "syscall" sysenter: "sysenter" sysret: "sysretq" sysexit: "sysexit" rsm: "rsm"
        int3: "int3" int1: ".byte 0xf1" int_80: "int 0x80" int_0: "int 0" int_8: "int 8"
        into: ".byte 0xce" ud0: ".byte 0x0f, 0xff, 0xc0" ud1: "ud1 eax, eax" ud2: "ud2"
        vmcall: "vmcall" vmmcall: "vmmcall" vmlaunch: "vmlaunch" vmxon: "vmxon [rdi]"
        vmrun: "vmrun" vmload: "vmload" clgi: "clgi" stgi: "stgi" skinit: "skinit"
        getsec: ".byte 0x0f, 0x37" encls: ".byte 0x0f, 0x01, 0xcf" invpcid: "invpcid rax, [rdi]"
        swapgs: "swapgs" wrfsbase: "wrfsbase rdi" rdfsbase: "rdfsbase rax" xbegin: "xbegin 2f; 2:"
        cmpxchg16b: "lock cmpxchg16b [rsp - 24]" fninit: "fninit; fldpi" sse: "mulps xmm0, xmm1"
        avx: "vaddps ymm0, ymm1, ymm2" popcnt: "popcnt rax, rdi" lzcnt: "lzcnt rax, rdi"
        lock: ".byte 0xf0, 0x90" long: ".fill 15, 1, 0x66; nop" enter: "enter 0xffff, 31"
        flags: "push -1; popfq; nop" iret: "push 0; push 0; push 0; push 0; push 0; iretq"
        far: "mov rax, -1; push rax; push rax; jmp fword ptr [rsp]" cr1: ".byte 0x0f, 0x22, 0xc8"
        cr15: ".byte 0x44, 0x0f, 0x22, 0xf8" dr4: ".byte 0x0f, 0x23, 0xe0"
        null_ss: "xor eax, eax; mov ss, eax; push rax" no_stack: "xor esp, esp; push rax"
        cpuid: "2: mov eax, r8d; xor ecx, ecx; cpuid; inc r8; cmp r8, 256; jb 2b"
        cpuid_high: "mov r8d, 0x80000000; 2: mov eax, r8d; cpuid; inc r8; cmp r8b, 64; jb 2b"
        lgdt: "sub rsp, 16; mov qword ptr [rsp], 0; lgdt [rsp]; mov eax, 24; mov ss, eax"
        sti: "sti; nop" cli: "cli" cld_std: "std; mov ecx, 8; rep stosb"
        ac: "pushfq; or qword ptr [rsp], 0x40000; popfq; mov rax, [rsp + 1]"
        nt: "pushfq; or qword ptr [rsp], 0x4000; popfq; iretq"
        vm86: "pushfq; or qword ptr [rsp], 0x20000; popfq"
        // A breakpoint on the stack that exceptions come to, which end where the boot block begins.
        stack_break: "lea rax, [rdi - 8]; mov dr0, rax; mov eax, 0x90401; mov dr7, rax; ud2"
        guarded: "mov eax, 0x2400; mov dr7, rax; mov rax, dr7"
        spin: "2: pause; jmp 2b" calls: "2: call 2b" pushes: "2: pushfq; jmp 2b"
    };
    let kvm = kvm();
    for (name, code) in instructions {
        for ring in RINGS {
            let end = end(&mut built(&kvm, code, ring), name);
            assert!(is_named(&end), "{name}, {ring:?}: {end}");
        }
    }
}

/// Where the tests below map what they like: 512 GiB.
const WINDOW: u64 = 1 << 39;

/// Maps `entry` there, in the way of a guest that writes its page tables: by the entry of that
/// level, 1 for a page of 4 KiB, 3 for one of 1 GiB.
fn map(vm: &Vm, level: u64, entry: u64) {
    // Pages that neither image nor host uses.
    let mut free = 2 * MIB;
    let mut slot = vm.layout().tables.start + 8 * (WINDOW >> 39);
    for _ in level..4 {
        vm.memory().write(Gpa(slot), &(free | 7).to_le_bytes()).expect("RAM");
        slot = free;
        free += PAGE;
    }
    vm.memory().write(Gpa(slot), &entry.to_le_bytes()).expect("RAM");
}

/// What is no RAM of a VM with 4 MiB: behind it, the hole with what PCs and KVM have there, and
/// beyond what a guest without CPUID can address.
const NOWHERE: [u64; 11] = [
    4 * MIB,
    3 * GIB,
    0xfec0_0000,
    0xfee0_0000,
    0xfffb_c000,
    0xffff_f000,
    4 * GIB,
    (1 << 36) - PAGE,
    1 << 36,
    1 << 46,
    (1 << 52) - PAGE,
];

#[test]
fn tables_that_lead_outside_ram_lead_nowhere() {
    let code = [
        code!(window_read: "mov rbx, 0x8000000000" "mov rax, [rbx]" "hlt"),
        code!(window_write: "mov rbx, 0x8000000000" "mov [rbx], rax" "hlt"),
        code!(window_jump: "mov rbx, 0x8000000000" "jmp rbx"),
        code!(window_out: "mov rsi, 0x8000000000" "mov ecx, 4" "rep outsb" "hlt"),
        code!(window_in: "mov rdi, 0x8000000000" "mov ecx, 4" "rep insb" "hlt"),
        code!(window_stack: "mov rsp, 0x8000000800" "push rax" "hlt"),
    ];
    let kvm = kvm();
    for (gpa, ring) in NOWHERE.into_iter().flat_map(|gpa| RINGS.map(|ring| (gpa, ring))) {
        for (which, code) in code.into_iter().enumerate() {
            let mut vm = built(&kvm, code, ring);
            map(&vm, 1, gpa | 7);
            let what = format!("code {which} at {gpa:#x}, {ring:?}");
            let end = end(&mut vm, &what);
            // KVM cannot emulate what it cannot fetch; a jump outside RAM is that.
            let nowhere = matches!(
                end,
                End::UnmappedAccess { .. }
                    | End::Exception(_)
                    | End::EmulationFailed { .. }
                    | End::InternalError { .. }
            );
            assert!(nowhere, "{what}: {end}");
        }
    }
}

#[test]
fn the_host_follows_no_table_outside_ram() {
    let panic = code!(window_panic: "mov rdi, 0x8000000000" "mov esi, 16" "out 0xf5, al");
    let kvm = kvm();
    for (gpa, ring) in NOWHERE.into_iter().flat_map(|gpa| RINGS.map(|ring| (gpa, ring))) {
        for level in 1..=3 {
            let large = if level > 1 { 1 << 7 } else { 0 };
            let mut vm = built(&kvm, panic, ring);
            map(&vm, level, gpa | large | 7);
            let what = format!("level {level}, {gpa:#x}, {ring:?}");
            let end = end(&mut vm, &what);
            let End::Panicked { message, .. } = &end else { panic!("{what}: {end}") };
            // Such a page begins where its size lets it, and that may be RAM.
            let size = PAGE << (9 * (level - 1));
            let in_ram = gpa / size * size < 4 * MIB;
            assert!(in_ram || message == "(message not readable)", "{what}: {message:?}");
        }
    }
}

#[test]
fn tables_that_lead_to_themselves_end() {
    let panic = code!(window_panics: "mov rdi, 0x8000000000" "mov esi, 4096" "out 0xf5, al");
    let kvm = kvm();
    for ring in RINGS {
        let mut vm = built(&kvm, panic, ring);
        let root = vm.layout().tables.start;
        map(&vm, 4, root | 7);
        for slot in 2..512 {
            vm.memory().write(Gpa(root + 8 * slot), &(root | 7).to_le_bytes()).expect("RAM");
        }
        let end = end(&mut vm, "a table in itself");
        assert!(matches!(end, End::Panicked { .. }), "{ring:?}: {end}");
        let nested = vm.translate(portcall::Gva(0xffff_ffff_ffff_f000)).expect("reads");
        assert_eq!(nested.map(|found| found.gpa), Some(Gpa(root)));
    }
}
