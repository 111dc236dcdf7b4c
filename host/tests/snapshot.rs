//! Snapshots: a VM that goes back, and one that is made of a snapshot, do what the first one did,
//! to the last byte. All of these need KVM.

mod common;

use common::kvm;
use portcall::kvm_bindings::{kvm_debugregs, kvm_regs, kvm_sregs, kvm_xcrs};
use portcall::layout::{GIB, HOLE_END, MIB, PAGE};
use portcall::restore::Effort;
use portcall::{
    Builder, Capture, End, Gpa, Guest, Gva, Image, Kvm, Limit, Mmio, Msrs, Ports, Ring, Snapshot,
    Stop, Vm,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Gives 1, 2, 3, and on; notes what is written. The next number is the host's own, and does not go
/// back with the guest, so a test sets it.
#[derive(Clone, Default)]
struct Device(Arc<Mutex<(u32, Vec<u32>)>>);

impl Ports for Device {
    fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
        let mut inner = self.0.lock().expect("no panic");
        inner.0 += 1;
        Ok(inner.0)
    }

    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
        self.0.lock().expect("no panic").1.push(value);
        Ok(())
    }
}

impl Mmio for Device {
    fn read(&mut self, _: &mut Guest<'_>, _: Gpa, _: u8) -> Result<u64, End> {
        let mut inner = self.0.lock().expect("no panic");
        inner.0 += 1;
        Ok(u64::from(inner.0) * 0x0001_0001_0001_0001)
    }

    fn write(&mut self, _: &mut Guest<'_>, _: Gpa, _: u8, value: u64) -> Result<(), End> {
        self.0.lock().expect("no panic").1.push(value.try_into().unwrap_or(u32::MAX));
        Ok(())
    }
}

/// Register 1 is not there.
impl Msrs for Device {
    fn read(&mut self, _: &mut Guest<'_>, msr: u32) -> Result<Option<u64>, End> {
        let mut inner = self.0.lock().expect("no panic");
        inner.0 += 1;
        Ok((msr != MSRS + 1).then_some(inner.0.into()))
    }

    fn write(&mut self, _: &mut Guest<'_>, _: u32, value: u64) -> Result<bool, End> {
        self.0.lock().expect("no panic").1.push(value.try_into().unwrap_or(u32::MAX));
        Ok(true)
    }
}

/// Where the device is seen, and its registers.
const WINDOW: std::ops::Range<u64> = 0xd000_0000..0xd000_2000;
const MSRS: u32 = 0x1_1000;

/// What can be seen of a VM from outside.
#[derive(PartialEq)]
struct Seen {
    end: Option<End>,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: Vec<u32>,
    xcrs: kvm_xcrs,
    debug: kvm_debugregs,
    memory: Vec<u8>,
    written: Vec<u32>,
}

/// How large the VMs are.
const MEMORY: u64 = 2 * MIB;

/// A guest, where it runs, and its device.
struct Case {
    kvm: Kvm,
    code: &'static [u8],
    ring: Ring,
    device: Device,
    /// Whether the device has a window and registers besides its ports.
    is_wide: bool,
}

impl Case {
    fn new(code: &'static [u8], ring: Ring) -> Self {
        Self { kvm: kvm(), code, ring, device: Device::default(), is_wide: false }
    }

    fn configure<'a>(&self, builder: Builder<'a>) -> Builder<'a> {
        let builder = builder
            .ports(0x300..=0x30f, self.device.clone())
            .limit(Limit::Time(Duration::from_secs(20)));
        if !self.is_wide {
            return builder;
        }
        builder.mmio(WINDOW, self.device.clone()).msrs(MSRS..=MSRS + 0xf, self.device.clone())
    }

    fn build(&self) -> Vm {
        let image = Image::flat(self.code).expect("code");
        let builder = Vm::builder(&self.kvm, &image).memory(MEMORY).ring(self.ring);
        self.configure(builder).build().expect("builds")
    }

    fn of(&self, snapshot: &Snapshot) -> Vm {
        self.configure(Vm::from_snapshot(&self.kvm, snapshot)).build().expect("builds")
    }

    fn device(&self) -> (u32, Vec<u32>) {
        self.device.0.lock().expect("no panic").clone()
    }

    fn set_device(&self, to: (u32, Vec<u32>)) {
        *self.device.0.lock().expect("no panic") = to;
    }

    /// Everything of it, completed up to the last exit.
    fn seen(&self, vm: &mut Vm) -> Seen {
        let end = vm.outcome().expect("registers").map(|outcome| outcome.end);
        let (regs, sregs) = (vm.registers(), vm.system_registers());
        let mut memory = vec![0; usize::try_from(MEMORY).expect("small")];
        vm.memory().read(Gpa(0), &mut memory).expect("RAM");
        let fd = vm.vcpu_fd();
        // Without XSTATE_BV (SDM vol. 1, 13.4.2): whether a component that is as it initially is
        // counts as in use is the kernel's own affair, and changes when it switches tasks.
        let mut xsave = fd.get_xsave().expect("KVM_GET_XSAVE").region.to_vec();
        xsave[128..130].fill(0);
        Seen {
            end,
            regs: regs.expect("registers"),
            sregs: sregs.expect("registers"),
            xsave,
            xcrs: fd.get_xcrs().expect("KVM_GET_XCRS"),
            debug: fd.get_debug_regs().expect("KVM_GET_DEBUGREGS"),
            memory,
            written: self.device().1,
        }
    }

    /// Runs it to its end.
    fn end(&self, vm: &mut Vm) -> Seen {
        vm.run().expect("runs");
        self.seen(vm)
    }
}

/// Says what differs, which the whole memory in an assertion's message would not.
fn assert_same(was: &Seen, is: &Seen, what: &str) {
    assert_eq!(is.end, was.end, "{what}: end");
    assert_eq!(is.written, was.written, "{what}: what it wrote to its device");
    assert_eq!(is.regs, was.regs, "{what}: general registers");
    assert_eq!(is.sregs, was.sregs, "{what}: system registers");
    let other: Vec<_> = (0..is.xsave.len()).filter(|i| is.xsave[*i] != was.xsave[*i]).collect();
    assert!(other.is_empty(), "{what}: XSAVE words {other:?}");
    assert_eq!(is.xcrs, was.xcrs, "{what}: XCRs");
    assert_eq!(is.debug, was.debug, "{what}: debug registers");
    let other =
        |page: &usize| is.memory[page * 4096..][..4096] != was.memory[page * 4096..][..4096];
    let pages: Vec<_> = (0..was.memory.len() / 4096).filter(other).collect();
    assert!(pages.is_empty(), "{what}: pages {pages:?}");
}

/// At every one of its exits the guest is taken, goes on, goes back, and is made again; each time it
/// comes to the same end. Gives what the second way back took, at each exit.
fn at_every_exit(code: &'static [u8], ring: Ring) -> Vec<Effort> {
    case_at_every_exit(&Case::new(code, ring))
}

fn case_at_every_exit(case: &Case) -> Vec<Effort> {
    let ring = case.ring;
    let whole = case.end(&mut case.build());
    assert_eq!(whole.end, Some(End::Halted));
    let mut efforts = Vec::new();
    for exits in 0.. {
        case.set_device(Default::default());
        let mut vm = case.build();
        for _ in 0..exits {
            vm.step().expect("steps");
        }
        if vm.outcome().expect("registers").is_some() {
            return efforts;
        }
        let snapshot = vm.snapshot().expect("taken");
        let device = case.device();
        let (taken, what) = (case.seen(&mut vm), format!("{ring:?}, after exit {exits}"));
        assert_same(&whole, &case.end(&mut vm), &format!("{what}: going on"));
        for again in 0..3 {
            case.set_device(device.clone());
            let effort = vm.restore(&snapshot).expect("restored");
            match again {
                0 => assert_eq!(effort, Effort::All, "{what}"),
                1 => efforts.push(effort),
                _ => {}
            }
            assert_same(&taken, &case.seen(&mut vm), &format!("{what}: back again, {again}"));
            assert_same(&whole, &case.end(&mut vm), &format!("{what}: once more, {again}"));
        }
        case.set_device(device.clone());
        let mut other = case.of(&snapshot);
        assert_same(&taken, &case.seen(&mut other), &format!("{what}: made of it"));
        assert_same(&whole, &case.end(&mut other), &format!("{what}: made of it, at its end"));
        // Back from within the run, with whatever exit is pending there.
        for steps in 1..4 {
            case.set_device(device.clone());
            vm.restore(&snapshot).expect("restored");
            for _ in 0..steps {
                vm.step().expect("steps");
            }
            case.set_device(device.clone());
            vm.restore(&snapshot).expect("restored");
            assert_same(&taken, &case.seen(&mut vm), &format!("{what}: back after {steps}"));
            assert_same(&whole, &case.end(&mut vm), &format!("{what}: on after {steps}"));
        }
    }
    efforts
}

fn assert_fast(efforts: &[Effort]) {
    assert!(!efforts.is_empty());
    for effort in efforts {
        assert!(matches!(effort, Effort::Touched { pages: 0..64 }), "{effort:?}");
    }
}

#[test]
fn a_loop_that_writes_memory_and_the_stack() {
    let code = code!(snapshot_loop:
        "lea rbx, [rip + 0x4000]" "mov ecx, 6"
        "2: push rcx" "mov [rbx], rcx" "add [rbx + 4096], rcx" "add rbx, 8" "mov dx, 0x300"
        "mov eax, [rbx + 4096 - 8]" "out dx, eax" "pop rcx" "dec ecx" "jnz 2b" "hlt"
    );
    assert_fast(&at_every_exit(code, Ring::Zero));
    assert_fast(&at_every_exit(code, Ring::Three));
}

#[test]
fn vectors_in_ring_3() {
    let code = code!(snapshot_sse:
        "mov eax, 3" "movq xmm0, rax" "mov eax, 5" "movq xmm15, rax" "fninit" "fld1" "mov ebx, 5"
        "2: paddq xmm0, xmm15" "psllq xmm15, 1" "fld st(0)" "faddp" "movq rax, xmm0"
        "mov dx, 0x300" "out dx, eax" "dec ebx" "jnz 2b"
        "sub rsp, 16" "fistp qword ptr [rsp]" "pop rsi" "movq rdi, xmm15" "hlt"
    );
    assert_fast(&at_every_exit(code, Ring::Three));
}

#[test]
fn reads_of_ports_that_are_pending_and_strings() {
    let code = code!(snapshot_in:
        "lea rdi, [rip + 0x4000]" "mov dx, 0x300" "cld"
        "in eax, dx" "mov ebx, eax" "in al, dx" "movzx r8d, al"
        "mov ecx, 3" "rep insd" "mov r9, rcx"
        "lea rsi, [rdi - 12]" "mov ecx, 3" "rep outsd" "in ax, dx" "hlt"
    );
    at_every_exit(code, Ring::Zero);
    at_every_exit(code, Ring::Three);
}

#[test]
fn reads_and_writes_of_a_window_that_are_pending() {
    // Both at once, across two pages, strings to and from memory, and the stack.
    let code = code!(snapshot_mmio:
        "cld" "mov ebx, 0xd0000000" "mov eax, [rbx]" "mov [rbx + 4], eax" "add [rbx], eax"
        "mov r8, [rbx + 0xffc]" "mov [rbx + 0xffe], eax" "xchg [rbx + 8], eax"
        "lea rdi, [rip + 0x4000]" "mov esi, ebx" "mov ecx, 3" "rep movsd"
        "lea rsi, [rdi - 12]" "lea rdi, [rbx + 16]" "mov ecx, 2" "rep movsd"
        "push qword ptr [rbx]" "pop qword ptr [rbx + 8]" "mov dx, 0x300" "in eax, dx" "hlt"
    );
    for ring in [Ring::Zero, Ring::Three] {
        assert_fast(&case_at_every_exit(&Case { is_wide: true, ..Case::new(code, ring) }));
    }
}

#[test]
fn reads_and_writes_of_msrs_that_are_pending() {
    let reads = code!(snapshot_rdmsr:
        "mov ecx, 0x11000" "rdmsr" "mov r8d, eax" "rdmsr" "mov dx, 0x300" "out dx, eax" "rdmsr" "hlt"
    );
    let case = |code| Case { is_wide: true, ..Case::new(code, Ring::Zero) };
    assert_fast(&case_at_every_exit(&case(reads)));
    let both = code!(snapshot_wrmsr:
        "mov ecx, 0x11000" "rdmsr" "wrmsr" "inc ecx" "inc ecx" "inc eax" "wrmsr" "rdmsr" "hlt"
    );
    let efforts = case_at_every_exit(&case(both));
    // It could write to others as well.
    assert!(efforts.iter().all(|effort| *effort == Effort::All), "{efforts:?}");
}

#[test]
fn a_fault_at_an_msr_that_is_not_there_is_in_a_snapshot_behind_the_access() {
    let code = code!(snapshot_no_msr: "mov ecx, 0x11001" "mov esi, 7" "rdmsr" "hlt");
    let case = Case { is_wide: true, ..Case::new(code, Ring::Zero) };
    // Without RF, which a fault has that KVM was about to deliver (SDM vol. 3, 19.3.1.1), and without
    // what was pushed with it.
    let end = |vm: &mut Vm| {
        let outcome = vm.run().expect("runs");
        let End::Exception(it) = outcome.end else { panic!("{}", outcome.end) };
        let r = outcome.registers;
        (
            it.vector,
            it.error_code,
            it.rip,
            it.rsp,
            it.rflags & !0x1_0000,
            r.rcx,
            r.rsi,
            r.rax,
            r.rdx,
        )
    };
    let whole = end(&mut case.build());
    assert_eq!((whole.0, whole.1, whole.2), (13, Some(0), Gva(MIB + 10)));
    let mut vm = case.build();
    vm.step().expect("steps");
    let snapshot = vm.snapshot().expect("taken");
    assert_eq!(end(&mut vm), whole, "going on");
    for again in 0..3 {
        vm.restore(&snapshot).expect("restored");
        assert_eq!(end(&mut vm), whole, "once more, {again}");
    }
    assert_eq!(end(&mut case.of(&snapshot)), whole, "made of it");
    // The access was answered once, before the snapshot.
    assert_eq!(case.device().0, 2);
}

#[test]
fn inside_a_handler_of_the_guests_own() {
    // An IDT of its own, with a gate for #UD, whose handler makes an exit before it returns.
    let code = code!(snapshot_handler:
        "lea rbx, [rip + 0x4000]" "lea rax, [rip + 5f]"
        "mov [rbx + 96], ax" "mov word ptr [rbx + 98], 0x10" "mov word ptr [rbx + 100], 0x8e00"
        "shr rax, 16" "mov [rbx + 102], ax" "shr rax, 16" "mov [rbx + 104], eax"
        "mov word ptr [rbx + 0x800], 0xfff" "mov [rbx + 0x802], rbx" "lidt [rbx + 0x800]"
        "mov dx, 0x300" "xor r12d, r12d" "mov r13d, 3"
        "3: ud2" "out dx, al" "dec r13d" "jnz 3b" "hlt"
        "5: inc r12d" "mov eax, r12d" "out dx, al" "add qword ptr [rsp], 2" "iretq"
    );
    let efforts = at_every_exit(code, Ring::Zero);
    // A #DB in a handler of its own would leave a mark that nobody sees.
    assert!(efforts.iter().all(|effort| *effort == Effort::All), "{efforts:?}");
}

#[test]
fn what_only_ring_0_can_change() {
    // LSTAR, KERNEL_GS_BASE by SWAPGS, DR0, CR3 written again, TS in CR0.
    let code = code!(snapshot_machine:
        "mov dx, 0x300"
        "mov ecx, 0xc0000082" "rdmsr" "mov r8d, eax" "add eax, 0x1000" "wrmsr"
        "mov dx, 0x300" "mov eax, r8d" "out dx, eax"
        "mov rax, dr0" "mov r9, rax" "add rax, 0x10" "mov dr0, rax" "mov eax, r9d" "out dx, eax"
        "mov ecx, 0xc0000102" "mov eax, 0x1234" "xor edx, edx" "wrmsr" "swapgs"
        "mov dx, 0x300" "out dx, al"
        "mov rax, cr3" "mov cr3, rax" "mov rax, cr0" "or eax, 8" "mov cr0, rax" "out dx, eax"
        "mov ecx, 0xc0000082" "rdmsr" "mov r10d, eax" "mov rax, dr0" "mov r11, rax" "hlt"
    );
    let efforts = at_every_exit(code, Ring::Zero);
    assert!(efforts.iter().all(|effort| *effort == Effort::All), "{efforts:?}");
    // As a check of the check: what the guest saw.
    let case = Case::new(code, Ring::Zero);
    let seen = case.end(&mut case.build());
    assert_eq!((seen.regs.r10, seen.regs.r11), (0x1000, 0x10));
}

/// Code that, if its device says so, maps a page to another place, and then tells what is there.
/// RDI is where the page table entry is; R8 what is to stand in it.
fn remapping() -> &'static [u8] {
    code!(snapshot_remap:
        "mov rbx, [rip + 8f]" "mov r8, [rip + 8f + 8]" "mov rsi, [rip + 8f + 16]"
        "mov dx, 0x300" "in eax, dx" "test eax, eax" "jz 2f" "mov [rbx], r8"
        "2: mov eax, [rsi]" "out dx, eax" "hlt"
        ".balign 8" "8: .quad 0, 0, 0"
    )
}

/// Always the same number.
struct Says(Arc<Mutex<u32>>);

impl Ports for Says {
    fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
        Ok(*self.0.lock().expect("no panic"))
    }
}

/// On some KVMs a page that was remapped stays so for the processor, even if its page table is put
/// back byte by byte.
#[test]
fn a_page_that_the_guest_has_remapped_is_back_in_both_rings() {
    let (kvm, image) = (kvm(), Image::flat(remapping()).expect("code"));
    for ring in [Ring::Zero, Ring::Three] {
        let says = Arc::new(Mutex::new(0));
        let mut vm = Vm::builder(&kvm, &image)
            .memory(4 * MIB)
            .ring(ring)
            .ports(0x300..=0x300, Says(Arc::clone(&says)))
            .build()
            .expect("builds");
        // Two pages, the one of which is to be seen in the other's place; a page table of 4 KiB
        // pages has an entry for both, since the code's own page is in the same 2 MiB.
        let (one, two) = (MIB + 0x1_0000, MIB + 0x2_0000);
        vm.memory().store_u64(Gpa(one), 1).expect("RAM");
        vm.memory().store_u64(Gpa(two), 2).expect("RAM");
        let mut table = vm.layout().tables.start;
        for level in (1..4u32).rev() {
            let slot = table + 8 * (one >> (12 + 9 * level) & 0x1ff);
            table = vm.memory().load_u64(Gpa(slot)).expect("RAM") & !0xfff;
        }
        let entry = |page: u64| table + 8 * (page >> 12 & 0x1ff);
        // The guest may write to that table: its own entry is in another, which it is let into.
        let mut own = vm.layout().tables.start;
        for level in (1..4u32).rev() {
            let slot = own + 8 * (table >> (12 + 9 * level) & 0x1ff);
            let word = vm.memory().load_u64(Gpa(slot)).expect("RAM");
            vm.memory().store_u64(Gpa(slot), word | 7).expect("RAM");
            own = word & !0xfff;
        }
        let slot = own + 8 * (table >> 12 & 0x1ff);
        let word = vm.memory().load_u64(Gpa(slot)).expect("RAM");
        vm.memory().store_u64(Gpa(slot), word | 7).expect("RAM");
        let code = vm.registers().expect("registers").rip;
        let size = image.segments()[0].size;
        let data = code + size - 24;
        let two_entry = vm.memory().load_u64(Gpa(entry(two))).expect("RAM");
        for (at, value) in [(0, entry(one)), (8, two_entry), (16, one)] {
            vm.memory().write(Gpa(data + at), &value.to_le_bytes()).expect("RAM");
        }
        let snapshot = vm.snapshot().expect("taken");
        let told = |vm: &mut Vm, remap: u32| {
            *says.lock().expect("no panic") = remap;
            let outcome = vm.run().expect("runs");
            assert_eq!(outcome.end, End::Halted, "{ring:?}");
            outcome.registers.rax
        };
        assert_eq!(told(&mut vm, 0), 1);
        let another = || {
            let ports = Says(Arc::clone(&says));
            Vm::from_snapshot(&kvm, &snapshot).ports(0x300..=0x300, ports).build().expect("builds")
        };
        for vm in [&mut vm, &mut another(), &mut another()] {
            assert_eq!(vm.restore(&snapshot).expect("restored"), Effort::All, "{ring:?}");
            assert_eq!(told(vm, 1), 2, "{ring:?}: remapped");
            assert_eq!(vm.restore(&snapshot).expect("restored"), Effort::All, "{ring:?}");
            // From here on the processor may know where the page is, and a guest in ring 3 cannot
            // make it forget that.
            assert_eq!(told(vm, 0), 1, "{ring:?}: as it was");
            vm.restore(&snapshot).expect("restored");
        }
    }
}

#[test]
fn every_end_leads_back() {
    for (name, code, ring) in [
        ("exit", code!(end_exit: "mov al, 3" "out 0xf4, al"), Ring::Zero),
        ("exception", code!(end_ud: "ud2"), Ring::Zero),
        ("exception", code!(end_ud3: "ud2"), Ring::Three),
        ("triple fault", code!(end_triple: "push 0" "push 0" "lidt [rsp]" "ud2"), Ring::Zero),
        ("MMIO", code!(end_mmio: "mov eax, [0xc0000000]"), Ring::Zero),
        ("spin", code!(end_spin: "2: jmp 2b"), Ring::Three),
        (
            "single step",
            code!(end_step: "pushf" "or dword ptr [rsp], 0x100" "popf" "nop"),
            Ring::Three,
        ),
    ] {
        let image = Image::flat(code).expect("code");
        let limit = Limit::Time(Duration::from_millis(200));
        let mut vm = Vm::builder(&kvm(), &image).memory(MEMORY).ring(ring).limit(limit).build();
        let vm = vm.as_mut().expect("builds");
        let snapshot = vm.snapshot().expect("taken");
        let first = vm.run().expect("runs");
        for _ in 0..3 {
            vm.restore(&snapshot).expect("restored");
            assert!(vm.outcome().expect("registers").is_none(), "{name}");
            let again = vm.run().expect("runs");
            assert_eq!(again.end, first.end, "{name}");
            if !matches!(first.end, End::LimitReached(_)) {
                assert_eq!(again.registers, first.registers, "{name}");
            }
        }
    }
}

#[test]
fn memory_above_the_hole_is_in_it() {
    let code = code!(high: "mov rbx, 0x100000000" "inc qword ptr [rbx]" "mov rax, [rbx]" "hlt");
    // Mapped one to one, and sparse: this costs no more than what is touched.
    let image = Image::flat(code).expect("code");
    let kvm = kvm();
    let mut vm = Vm::builder(&kvm, &image).memory(5 * GIB).build().expect("builds");
    vm.memory().store_u64(Gpa(HOLE_END), 41).expect("RAM");
    vm.memory().store_u64(Gpa(HOLE_END + 2 * GIB - PAGE), 7).expect("RAM");
    let snapshot = vm.snapshot().expect("taken");
    assert!(snapshot.size() < MIB, "{} bytes", snapshot.size());
    for _ in 0..3 {
        assert_eq!(vm.run().expect("runs").registers.rax, 42);
        vm.memory().store_u64(Gpa(HOLE_END + 2 * GIB - PAGE), 8).expect("RAM");
        vm.restore(&snapshot).expect("restored");
        assert_eq!(vm.memory().load_u64(Gpa(HOLE_END + 2 * GIB - PAGE)).expect("RAM"), 7);
    }
    let mut other = Vm::from_snapshot(&kvm, &snapshot).build().expect("builds");
    assert_eq!(other.run().expect("runs").registers.rax, 42);
    // What one VM writes is its own.
    assert_eq!(vm.memory().load_u64(Gpa(HOLE_END)).expect("RAM"), 41);
}

#[test]
fn a_snapshot_of_a_vm_that_was_made_of_one() {
    let code = code!(generations: "inc qword ptr [0x180000]" "mov rax, [0x180000]" "hlt" "jmp 2f" "2:"
        "inc qword ptr [0x160000]" "mov rax, [0x180000]" "add rax, [0x160000]" "hlt");
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    let mut first = Vm::builder(&kvm, &image).memory(MEMORY).build().expect("builds");
    first.memory().store_u64(Gpa(0x17_0000), 5).expect("RAM");
    assert_eq!(first.run().expect("runs").registers.rax, 1);
    let one = first.snapshot().expect("taken");
    let mut second = Vm::from_snapshot(&kvm, &one).build().expect("builds");
    // Pages that the second never touched are in its snapshot too.
    second.memory().store_u64(Gpa(0x19_0000), 6).expect("RAM");
    let two = second.snapshot().expect("taken");
    drop((first, one));
    let mut third = Vm::from_snapshot(&kvm, &two).build().expect("builds");
    assert_eq!(third.run().expect("runs").registers.rax, 2);
    assert_eq!(third.memory().load_u64(Gpa(0x17_0000)).expect("RAM"), 5);
    assert_eq!(third.memory().load_u64(Gpa(0x19_0000)).expect("RAM"), 6);
    // From one snapshot to another of the same kind, and back.
    let three = {
        let mut vm = Vm::from_snapshot(&kvm, &two).build().expect("builds");
        vm.memory().store_u64(Gpa(0x19_0000), 9).expect("RAM");
        vm.snapshot().expect("taken")
    };
    for (snapshot, value) in [(&three, 9), (&two, 6), (&three, 9), (&three, 9), (&two, 6)] {
        third.restore(snapshot).expect("restored");
        assert_eq!(third.memory().load_u64(Gpa(0x19_0000)).expect("RAM"), value);
        assert_eq!(third.run().expect("runs").registers.rax, 2);
    }
}

#[test]
fn text_is_handed_on_once_and_in_order() {
    let code = code!(texts: "mov al, 'a'" "out 0xe9, al" "hlt" "mov al, 'b'" "out 0xe9, al" "hlt");
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    let text = Capture::new();
    let builder = Vm::builder(&kvm, &image).memory(MEMORY).console(text.clone());
    let mut vm = builder.build().expect("builds");
    vm.run().expect("runs");
    let snapshot = vm.snapshot().expect("taken");
    for _ in 0..3 {
        vm.run().expect("runs");
        vm.restore(&snapshot).expect("restored");
    }
    // Printed, and gone back before it was handed on: it never was.
    assert!(matches!(vm.step().expect("steps"), Stop::Exit(_)));
    vm.restore(&snapshot).expect("restored");
    vm.run().expect("runs");
    assert_eq!(text.text(), "abbbb");
    let other = Capture::new();
    let mut vm = Vm::from_snapshot(&kvm, &snapshot).console(other.clone()).build().expect("builds");
    vm.run().expect("runs");
    assert_eq!(other.text(), "b");
}

#[test]
fn what_is_no_snapshot_or_not_for_this_vm_is_refused() {
    let (kvm, image) = (kvm(), Image::flat(code!(refused: "out 0xf4, al")).expect("code"));
    let other = Image::flat(&[0xf4]).expect("code");
    let mut vm = Vm::builder(&kvm, &image).memory(MEMORY).build().expect("builds");
    let snapshot = vm.snapshot().expect("taken");
    vm.run().expect("runs");
    let error = vm.snapshot().expect_err("it has ended").to_string();
    assert!(error.contains("exited with code 0"), "{error}");
    let mut larger = Vm::builder(&kvm, &other).memory(2 * MEMORY).build().expect("builds");
    let error = larger.restore(&snapshot).expect_err("another size").to_string();
    assert!(error.contains("made otherwise"), "{error}");
    assert_eq!(larger.run().expect("runs").end, End::Halted, "and it is as it was");
    for (what, builder) in [
        ("memory", Vm::from_snapshot(&kvm, &snapshot).memory(MEMORY)),
        ("ring", Vm::from_snapshot(&kvm, &snapshot).ring(Ring::Zero)),
        ("arguments", Vm::from_snapshot(&kvm, &snapshot).arguments(["a"])),
    ] {
        let error = builder.build().expect_err("chosen").to_string();
        assert!(error.starts_with(&format!("the {what} of")), "{error}");
    }
}

#[test]
fn a_vm_that_was_stopped_stays_so() {
    let (kvm, image) = (kvm(), Image::flat(&[0xf4]).expect("code"));
    let mut vm = Vm::builder(&kvm, &image).memory(MEMORY).build().expect("builds");
    let snapshot = vm.snapshot().expect("taken");
    vm.stopper().stop();
    assert_eq!(vm.run().expect("runs").end, End::Stopped);
    vm.restore(&snapshot).expect("restored");
    assert_eq!(vm.run().expect("runs").end, End::Stopped);
    let mut other = Vm::from_snapshot(&kvm, &vm.snapshot().expect("taken")).build();
    assert_eq!(other.as_mut().expect("builds").run().expect("runs").end, End::Halted);
}

/// Many pages now and then, and long enough for the log to begin afresh.
#[test]
fn many_pages_and_many_times() {
    let code = code!(many:
        "mov dx, 0x300" "in eax, dx" "mov ecx, eax" "lea rbx, [rip + 0x4000]" "xor esi, esi"
        "2: add rsi, [rbx]" "inc qword ptr [rbx]" "add rbx, 4096" "dec ecx" "jnz 2b" "hlt"
    );
    let (kvm, image) = (kvm(), Image::flat(code).expect("code"));
    let pages = Arc::new(Mutex::new(0));
    let mut vm = Vm::builder(&kvm, &image)
        .memory(16 * MIB)
        .ring(Ring::Three)
        .ports(0x300..=0x300, Says(Arc::clone(&pages)))
        .build()
        .expect("builds");
    let snapshot = vm.snapshot().expect("taken");
    for round in 0..330u32 {
        *pages.lock().expect("no panic") =
            if round % 50 == 7 && round < 260 { 3000 } else { 3 + round % 5 };
        vm.restore(&snapshot).expect("restored");
        let outcome = vm.run().expect("runs");
        assert_eq!((outcome.end, outcome.registers.rsi), (End::Halted, 0), "round {round}");
    }
    // Three thousand pages were predicted once, and are not any more.
    let effort = vm.restore(&snapshot).expect("restored");
    assert!(matches!(effort, Effort::Touched { pages: 1..20 }), "{effort:?}");
    let seen = vm.translate(Gva(MIB)).expect("registers");
    assert!(seen.is_some_and(|it| it.executable && it.user));
}
