//! Guests that try to leave something behind that a restore does not see: each reads what it could
//! find, leaves its mark, and is restored, again and again. All of these need KVM.

mod common;

use common::kvm;
use portcall::kvm_bindings::{Msrs, kvm_msr_entry};
use portcall::layout::MIB;
use portcall::restore::Effort;
use portcall::{End, Gpa, Guest, Image, Limit, Ports, Ring, Snapshot, Vm};
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
        assert!(matches!(vm.step(), Ok(portcall::Stop::Exit(_))));
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
