//! Guests that try to leave something behind that a restore does not see: each reads what it could
//! find, leaves its mark, and is restored, again and again. All of these need KVM.

mod common;

use common::kvm;
use portcall::kvm_bindings::{Msrs, kvm_msr_entry};
use portcall::layout::MIB;
use portcall::restore::Effort;
use portcall::{End, Gpa, Guest, Image, Limit, Ports, Ring, Snapshot, Stop, Vm};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Notes what is written.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u32>>>);

impl Ports for Told {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
        self.0.lock().expect("no panic").push(value);
        Ok(())
    }
}

fn build(code: &'static [u8], ring: Ring, memory: u64, limit: Limit) -> (Vm, Told) {
    let (kvm, image, told) = (kvm(), Image::flat(code).expect("code"), Told::default());
    let builder = Vm::builder(&kvm, &image).memory(memory).ring(ring);
    let builder = builder.ports(0x300..=0x300, told.clone()).limit(limit);
    (builder.build().expect("builds"), told)
}

const PATIENCE: Limit = Limit::Time(Duration::from_secs(20));

/// Page table entries' address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

fn entry(vm: &Vm, table: u64, index: u64) -> u64 {
    vm.memory().load_u64(Gpa(table + 8 * index)).expect("RAM")
}

fn set(vm: &Vm, table: u64, index: u64, entry: u64) {
    vm.memory().store_u64(Gpa(table + 8 * index), entry).expect("RAM");
}

/// The tables on the way to the first 2 MiB: PDPT, PD, PT.
fn tables(vm: &Vm) -> [u64; 3] {
    let pdpt = entry(vm, vm.layout().tables.start, 0) & ADDRESS;
    let pd = entry(vm, pdpt, 0) & ADDRESS;
    [pdpt, pd, entry(vm, pd, 0) & ADDRESS]
}

/// Runs it from a snapshot of how it is, and once more from there, four times: what it told each
/// time is what it told the first time.
fn tells_the_same(vm: &mut Vm, told: &Told) {
    let snapshot = vm.snapshot().expect("taken");
    let once = |vm: &mut Vm| {
        told.0.lock().expect("no panic").clear();
        let end = vm.run().expect("runs").end;
        (end, told.0.lock().expect("no panic").clone())
    };
    let first = once(vm);
    for round in 0..4 {
        let effort = vm.restore(&snapshot).expect("restored");
        assert_eq!(once(vm), first, "{round}: {effort:?}");
    }
}

/// RDMSR of KERNEL_GS_BASE, told; then WRMSR, written over two NOPs through an alias of the code's own
/// page, 2 MiB or 1 GiB above, which only a large page shows that is no RAM for the most part; and the
/// NOPs back again.
macro_rules! by_alias {
    ($name:ident: $distance:literal $($before:literal)*) => {
        code!($name: $($before)*
            "mov ecx, 0xc0000102" "rdmsr" "mov dx, 0x300" "out dx, eax"
            "lea rbx, [rip + 2f]" $distance
            "mov eax, 0x2f0e" "add eax, 0x0101" "mov word ptr [rbx], ax"
            "mov eax, 0x5ec" "xor edx, edx" "jmp 2f"
            "2: nop" "nop" "mov eax, 0x9090" "mov word ptr [rbx], ax" "hlt")
    };
}

#[test]
fn a_large_page_that_is_partly_ram_hides_no_writes() {
    let one = by_alias!(left_2_mib: "add rbx, 0x200000");
    let other = by_alias!(left_1_gib: "add rbx, 0x40000000");
    for (code, memory, level) in [(one, 3 * MIB / 2, 1), (other, 16 * MIB, 0)] {
        let (mut vm, told) = build(code, Ring::Zero, memory, PATIENCE);
        let tables = tables(&vm);
        set(&vm, tables[level], 1, 0x8000_0000_0000_00e3);
        let own = entry(&vm, tables[2], 0x100);
        set(&vm, tables[2], 0x100, own & !2);
        tells_the_same(&mut vm, &told);
    }
}

/// The same by the guest alone, which covers its traces before the snapshot.
#[test]
fn a_guest_that_makes_its_alias_itself() {
    let code = by_alias!(left_by_itself: "add rbx, 0x200000"
        "mov rax, cr0" "btr rax, 16" "81: mov cr0, rax"
        "mov rax, cr3" "mov rax, [rax]" "and rax, -4096" "mov rax, [rax]" "and rax, -4096"
        "movabs rcx, 0x80000000000000e3" "mov [rax + 8], rcx"
        "mov rax, [rax]" "and rax, -4096" "and qword ptr [rax + 0x800], -3"
        "mov rax, cr0" "bts rax, 16" "82: mov cr0, rax" "lea rbx, [rip + 81b]" "invlpg [rbx]"
        "add rbx, 0x200000" "mov word ptr [rbx], 0x9090" "mov byte ptr [rbx + 2], 0x90"
        "lea rbx, [rip + 82b]" "add rbx, 0x200000" "mov word ptr [rbx], 0x9090"
        "mov byte ptr [rbx + 2], 0x90" "mov dx, 0x300" "mov eax, 0x77" "out dx, eax");
    let (mut vm, told) = build(code, Ring::Zero, 3 * MIB / 2, PATIENCE);
    vm.step().expect("steps");
    tells_the_same(&mut vm, &told);
}

/// A far call by a gate in the LDT that a processor has out of reset, at address 0.
#[test]
fn there_is_no_way_to_ring_0_by_the_ldt() {
    let code = code!(left_ldt:
        "lea rax, [rip + 3f]" "mov ebx, 8"
        "mov word ptr [rbx], ax" "mov word ptr [rbx + 2], 0x10" "mov word ptr [rbx + 4], 0xec00"
        "shr rax, 16" "mov word ptr [rbx + 6], ax" "shr rax, 16" "mov dword ptr [rbx + 8], eax"
        "mov dword ptr [rbx + 12], 0" "sub rsp, 16" "mov dword ptr [rsp], 0"
        "mov word ptr [rsp + 4], 0x0f" ".byte 0xff, 0x1c, 0x24"
        "mov eax, esi" "mov dx, 0x300" "out dx, eax" "hlt"
        "3: mov ecx, 0xc0000102" "rdmsr" "mov esi, eax" "mov eax, 0x5ec" "xor edx, edx" "wrmsr"
        ".byte 0x48, 0xcb");
    let (mut vm, told) = build(code, Ring::Three, 2 * MIB, PATIENCE);
    assert_eq!(vm.system_registers().expect("registers").ldt.unusable, 1);
    let [.., last] = tables(&vm);
    set(&vm, last, 0, 0x8000_0000_0000_7067);
    tells_the_same(&mut vm, &told);
    assert!(told.0.lock().expect("no panic").iter().all(|value| *value == 0), "nor told of one");
}

/// KVM takes the ring from SS.
#[test]
fn ring_0_by_ss_is_not_taken_for_ring_3() {
    let code = code!(left_ss: "mov ecx, 0xc0000102" "rdmsr" "mov dx, 0x300" "out dx, eax"
        "mov eax, 0x5ec" "xor edx, edx" "wrmsr" "hlt");
    let (mut vm, told) = build(code, Ring::Three, 2 * MIB, PATIENCE);
    let mut sregs = vm.system_registers().expect("registers");
    sregs.ss.dpl = 0;
    vm.vcpu_fd().set_sregs(&sregs).expect("KVM_SET_SREGS");
    tells_the_same(&mut vm, &told);
}

/// CR8 is in kvm_run, and goes before the system registers from there.
#[test]
fn the_task_priority_is_as_it_was() {
    let code = code!(left_cr8: "mov rax, cr8" "mov dx, 0x300" "out dx, al" "mov eax, 5"
        "mov cr8, rax" "out dx, al" "mov rax, cr8" "out dx, al" "hlt");
    let (mut vm, told) = build(code, Ring::Zero, 2 * MIB, PATIENCE);
    tells_the_same(&mut vm, &told);
    assert_eq!(told.0.lock().expect("no panic").as_slice(), [0, 5, 5]);
    // Taken with another, it is there in a VM that is made of it.
    let (mut vm, _) = build(code, Ring::Zero, 2 * MIB, PATIENCE);
    while !matches!(vm.system_registers(), Ok(sregs) if sregs.cr8 == 5) {
        assert!(matches!(vm.step(), Ok(Stop::Exit(_))));
    }
    let snapshot = vm.snapshot().expect("taken");
    let told = Told::default();
    let made = Vm::from_snapshot(&kvm(), &snapshot).ports(0x300..=0x300, told.clone()).build();
    made.expect("builds").run().expect("runs");
    assert_eq!(told.0.lock().expect("no panic").last(), Some(&5));
}

/// A limit at the exit of an exception hides that from the end, not from the restore.
#[test]
fn an_exit_that_a_limit_hid_is_not_a_plain_one() {
    let single_step =
        code!(left_step: "pushf" "or dword ptr [rsp], 0x100" "popf" "nop" "nop" "hlt");
    let triple_fault = code!(left_triple: "push 0" "push 0" "lidt [rsp]" "ud2");
    for (code, ring) in
        [(single_step, Ring::Three), (single_step, Ring::Zero), (triple_fault, Ring::Zero)]
    {
        for limit in [Limit::Exits(0), Limit::Exits(9)] {
            let (mut vm, _) = build(code, ring, 2 * MIB, limit);
            let lstar = |data| {
                let entry = kvm_msr_entry { index: 0xc000_0082, data, ..Default::default() };
                Msrs::from_entries(&[entry]).expect("one")
            };
            assert_eq!(vm.vcpu_fd().set_msrs(&lstar(0x1234)).expect("KVM_SET_MSRS"), 1);
            let snapshot = vm.snapshot().expect("taken");
            let debug = vm.vcpu_fd().get_debug_regs().expect("KVM_GET_DEBUGREGS");
            for _ in 0..3 {
                vm.run().expect("runs");
                vm.restore(&snapshot).expect("restored");
                let now = vm.vcpu_fd().get_debug_regs().expect("KVM_GET_DEBUGREGS");
                assert_eq!(now, debug, "{limit:?}");
                let mut msrs = lstar(0);
                vm.vcpu_fd().get_msrs(&mut msrs).expect("KVM_GET_MSRS");
                assert_eq!(msrs.as_slice()[0].data, 0x1234, "{limit:?}");
            }
        }
    }
}

/// A page table entry that the processor has not seen yet: it says so, and then that it has.
#[test]
fn a_page_that_was_not_accessed_is_so_again() {
    let code = code!(left_accessed: "mov dword ptr [0x4000], 7" "mov rax, [0x6020]"
        "mov dx, 0x300" "out dx, eax" "hlt");
    for ring in [Ring::Zero, Ring::Three] {
        let (mut vm, told) = build(code, ring, 2 * MIB, PATIENCE);
        let [.., table] = tables(&vm);
        let page = entry(&vm, table, 4);
        set(&vm, table, 4, page & !0x60);
        set(&vm, table, 6, 0x8000_0000_0000_0065 | table);
        tells_the_same(&mut vm, &told);
    }
}

/// What the host writes to a guest's code, as a debugger does, is gone as well.
#[test]
fn what_the_host_wrote_to_code_is_undone() {
    let code = code!(left_code: "mov eax, 1" "mov dx, 0x300" "out dx, eax" "hlt");
    let (mut vm, told) = build(code, Ring::Zero, 2 * MIB, PATIENCE);
    let snapshot = vm.snapshot().expect("taken");
    vm.restore(&snapshot).expect("restored");
    for _ in 0..3 {
        vm.memory().write(Gpa(MIB + 1), &[9]).expect("RAM");
        vm.run().expect("runs");
        assert_eq!(vm.restore(&snapshot).expect("restored"), Effort::All);
        vm.run().expect("runs");
        vm.restore(&snapshot).expect("restored");
    }
    assert_eq!(told.0.lock().expect("no panic").as_slice(), [9, 1, 9, 1, 9, 1]);
}

/// On kvm_pvm the selectors of ring 3 are those of the host's own thread. FS has to stay.
#[test]
fn data_selectors_are_not_another_callers() {
    let code = code!(left_selectors: "xor eax, eax" "mov dx, 0x300"
        "mov ax, ds" "out dx, eax" "mov ax, es" "out dx, eax" "mov ax, gs" "out dx, eax"
        "mov eax, 0x28" "mov ds, ax" "mov eax, 0x29" "mov es, ax" "mov eax, 0x2a" "mov gs, ax" "hlt");
    let (mut vm, told) = build(code, Ring::Three, 2 * MIB, PATIENCE);
    tells_the_same(&mut vm, &told);
    let first = told.0.lock().expect("no panic").clone();
    let (mut other, told) = build(code, Ring::Three, 2 * MIB, PATIENCE);
    other.run().expect("runs");
    assert_eq!(*told.0.lock().expect("no panic"), first, "nor another VM's, in the same thread");
}

/// All MSRs that KVM lets a guest read, and then write to, each with each of its bits turned: whatever
/// took that is as it was, in the VM that goes back and in the one that is made of the snapshot. The
/// time stamp counter's are left out, and EFER, which is a system register.
#[test]
fn no_msr_stays_as_a_guest_has_left_it() {
    // An IDT with a gate for #GP alone, whose handler notes it in EBP and steps over the instruction.
    // R15 is the table, of 12 bytes an MSR; the ranges to look through are behind the code.
    let code = code!(snapshot_msrs:
        "lea rbx, [rip + 0x4000]" "lea rax, [rip + 9f]"
        "mov [rbx + 208], ax" "mov word ptr [rbx + 210], 0x10" "mov word ptr [rbx + 212], 0x8e00"
        "shr rax, 16" "mov [rbx + 214], ax" "shr rax, 16" "mov [rbx + 216], eax"
        "mov word ptr [rbx + 0x800], 0xfff" "mov [rbx + 0x802], rbx" "lidt [rbx + 0x800]"
        "2: mov r15d, 0x140000" "lea r14, [rip + 8f]"
        "3: mov ecx, [r14]" "mov r13d, [r14 + 4]" "add r14, 8" "test r13d, r13d" "jz 5f"
        "4: xor ebp, ebp" "rdmsr" "test ebp, ebp" "jnz 41f"
        "mov [r15], ecx" "mov [r15 + 4], eax" "mov [r15 + 8], edx" "add r15, 12"
        "41: inc ecx" "cmp ecx, r13d" "jb 4b" "jmp 3b"
        "5: mov dword ptr [r15], -1" "mov dx, 0x300" "out dx, al"
        "mov r15d, 0x140000"
        "6: mov ecx, [r15]" "cmp ecx, -1" "je 7f" "mov r12d, 63"
        "61: mov eax, [r15 + 4]" "mov edx, [r15 + 8]" "cmp r12d, 32" "jb 62f"
        "btc edx, r12d" "jmp 63f" "62: btc eax, r12d"
        "63: wrmsr" "dec r12d" "jns 61b" "add r15, 12" "jmp 6b"
        "7: hlt" "jmp 2b"
        "9: mov ebp, 1" "add rsp, 8" "add qword ptr [rsp], 2" "iretq"
        "8: .long 0, 0x10, 0x11, 0x3b, 0x3c, 0xe7, 0xe9, 0x1400"
        ".long 0x4b564d00, 0x4b564d10, 0xc0000081, 0xc0000110, 0xc0010000, 0xc0010015"
        ".long 0xc0010016, 0xc0010114, 0xc0010115, 0xc0010200, 0, 0"
    );
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    let mut vm = Vm::builder(&kvm, &image).memory(2 * MIB).build().expect("builds");
    let snapshot = vm.snapshot().expect("taken");
    let read = |vm: &mut Vm| {
        assert!(matches!(vm.step().expect("steps"), Stop::Exit(_)));
        let entry = |i: u64| {
            let mut bytes = [0; 12];
            vm.memory().read(Gpa(0x14_0000 + 12 * i), &mut bytes).expect("RAM");
            let word = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).expect("4");
            (word(0) != u32::MAX).then(|| (word(0), u64::from(word(8)) << 32 | u64::from(word(4))))
        };
        (0..).map_while(entry).collect::<Vec<_>>()
    };
    let first = read(&mut vm);
    assert_eq!(vm.run().expect("runs").end, End::Halted);
    // As a check of the check: some have changed.
    let then = read(&mut vm);
    let changed = first.iter().zip(&then).filter(|(a, b)| a != b).count();
    assert!(changed >= 5, "{changed} of {}", first.len());
    for round in 0..2 {
        vm.restore(&snapshot).expect("restored");
        assert_eq!(read(&mut vm), first, "back, {round}");
        assert_eq!(vm.run().expect("runs").end, End::Halted);
    }
    let mut other = Vm::from_snapshot(&kvm, &snapshot).build().expect("builds");
    assert_eq!(read(&mut other), first, "made of it");
}

/// What cannot be taken back is said, and the VM is not taken for one that is as it was: on kvm_amd
/// VM_CR, once it says that SVM is off, and with older kernels HWCR.
#[test]
fn an_msr_that_sticks_is_an_error_or_is_as_it_was() {
    let kvm = kvm();
    for (msr, code, bit) in [
        (
            "0xc0010015",
            code!(snapshot_hwcr: "mov ecx, 0xc0010015" "mov r8d, 0x40000" "jmp 2f"
            "2: mov dx, 0x300" "out dx, al" "rdmsr" "mov esi, eax" "or eax, r8d" "wrmsr" "rdmsr"
            "mov edi, eax" "hlt"),
            0x4_0000,
        ),
        (
            "0xc0010114",
            code!(snapshot_vm_cr: "mov ecx, 0xc0010114" "mov r8d, 0x10" "jmp 2f"
            "2: mov dx, 0x300" "out dx, al" "rdmsr" "mov esi, eax" "or eax, r8d" "wrmsr" "rdmsr"
            "mov edi, eax" "hlt"),
            0x10,
        ),
    ] {
        let image = Image::flat(code).expect("code");
        let mut vm = Vm::builder(&kvm, &image).memory(2 * MIB).build().expect("builds");
        let snapshot = vm.snapshot().expect("taken");
        let first = vm.run().expect("runs");
        match vm.restore(&snapshot) {
            Ok(_) => {
                let again = vm.run().expect("runs");
                assert_eq!((again.end, again.registers), (first.end, first.registers), "{msr}");
            }
            Err(error) => {
                assert_eq!(first.registers.rdi & bit, bit, "it was set");
                assert!(error.to_string().contains(&format!("MSR {msr}")), "{error}");
            }
        }
    }
}

/// Memory that is locked keeps its pages where it is told to give them up, and is mapped anew then.
#[test]
fn locked_memory_is_restored_as_well() {
    let code = code!(left_locked: "inc dword ptr [0x4000]" "mov eax, [0x4000]" "mov dx, 0x300"
        "out dx, eax" "hlt");
    let (mut vm, told) = build(code, Ring::Zero, 2 * MIB, PATIENCE);
    let snapshot: Snapshot = vm.snapshot().expect("taken");
    vm.restore(&snapshot).expect("restored");
    let address = vm.memory().host_address(Gpa(0)).expect("RAM");
    let place = std::ptr::without_provenance(usize::try_from(address).expect("64 bits"));
    // SAFETY: the call reads no memory; the pages are the guest's RAM.
    assert_eq!(unsafe { libc::mlock(place, 2 << 20) }, 0, "mlock");
    // Long enough for the log to begin afresh.
    for _ in 0..70 {
        vm.run().expect("runs");
        vm.restore(&snapshot).expect("restored");
    }
    assert!(told.0.lock().expect("no panic").iter().all(|value| *value == 1));
}
