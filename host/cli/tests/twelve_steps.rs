//! A plain run makes the ioctls of the twelve steps, in their order, and no other: seen from
//! outside, by tracing the system calls of the real binary.

#[path = "../../tests/common/mod.rs"]
mod common;

mod tracer;

use common::elf::Elf;
use std::process::{Command, Stdio};
use tracer::kvm_ioctls;

#[test]
fn a_plain_run_makes_the_ioctls_of_the_twelve_steps_in_order() {
    // mov eax, 42; out 0xf4, eax
    let image = Elf::new(&[0xb8, 42, 0, 0, 0, 0xe7, 0xf4]).bytes();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), image).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.arg("run").arg(file.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let (mut seen, code) = kvm_ioctls(command);
    assert_eq!(code, 42);
    // kvm-ioctls asks for the size of kvm_run once more, as a part of KVM_CREATE_VM.
    assert_eq!(seen.remove(1).0, "KVM_GET_VCPU_MMAP_SIZE");
    let names: Vec<&str> = seen.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "KVM_CREATE_VM",
            "KVM_SET_TSS_ADDR",
            "KVM_SET_USER_MEMORY_REGION",
            "KVM_CREATE_VCPU",
            "KVM_GET_VCPU_MMAP_SIZE",
            "KVM_GET_SREGS",
            "KVM_SET_SREGS",
            "KVM_SET_REGS",
            "KVM_RUN",
            "KVM_GET_REGS",
        ]
    );
    assert_eq!(seen[1].1, 0xfffb_d000);
}
