//! Memory costs only what is touched. In a process of its own, since it measures the process.

mod common;

use common::kvm;
use portcall::layout::{GIB, HOLE_END};
use portcall::{End, Gpa, Gva, Image, Vm};

#[test]
fn eight_gibibytes_cost_only_what_is_touched() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("proc");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    };
    // Writes at both ends of the upper part and reads them back.
    let code = code!(large:
        "mov rdi, 0x100000000" "mov qword ptr [rdi], 5"
        "mov rdi, 0x23ffffff8" "mov qword ptr [rdi], 37"
        "mov rax, [rdi]" "mov rdi, 0x100000000" "add rax, [rdi]" "hlt"
    );
    let image = Image::flat(code).expect("code");
    let before = resident();
    let mut vm = Vm::builder(&kvm(), &image).memory(8 * GIB).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 42));
    let grown = resident().saturating_sub(before);
    // Where the kernel gives huge pages unasked, each place that is touched takes 2 MiB.
    assert!(grown < 32 << 10, "{grown} KiB");
    assert_eq!(vm.layout().ram.last(), Some(&(HOLE_END..9 * GIB)));
    // The hole is no RAM, and is not mapped.
    assert_eq!(vm.translate(Gva(3 * GIB)).expect("sregs"), None);
    assert!(vm.memory().load_u64(Gpa(3 * GIB)).is_err());
}
