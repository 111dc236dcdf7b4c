//! A plain run makes the ioctls of the twelve steps, in their order, and no other: seen from
//! outside, by tracing the system calls of the real binary.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::elf::Elf;
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// KVM's ioctls (Linux, include/uapi/linux/kvm.h): the type byte of all is 0xAE.
const KVMIO: u64 = 0xae;

fn name(request: u64) -> &'static str {
    match request & 0xff {
        0x01 => "KVM_CREATE_VM",
        0x04 => "KVM_GET_VCPU_MMAP_SIZE",
        0x41 => "KVM_CREATE_VCPU",
        0x46 => "KVM_SET_USER_MEMORY_REGION",
        0x47 => "KVM_SET_TSS_ADDR",
        0x80 => "KVM_RUN",
        0x81 => "KVM_GET_REGS",
        0x82 => "KVM_SET_REGS",
        0x83 => "KVM_GET_SREGS",
        0x84 => "KVM_SET_SREGS",
        _ => "another",
    }
}

#[expect(clippy::panic, reason = "that is how a test fails")]
#[expect(clippy::zombie_processes, reason = "it is waited for by ptrace's own means")]
/// The KVM ioctls that a command makes: name and argument.
fn kvm_ioctls(mut command: Command) -> Vec<(&'static str, u64)> {
    // SAFETY: between fork and exec only ptrace is called, which is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = command.spawn().expect("starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    waitpid(pid, None).expect("stops at its exec");
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).expect("options");
    let (mut seen, mut entering) = (Vec::new(), true);
    loop {
        ptrace::syscall(pid, None).expect("goes on");
        match waitpid(pid, None).expect("stops again") {
            WaitStatus::PtraceSyscall(_) => {
                let registers = ptrace::getregs(pid).expect("registers");
                let ioctl = registers.orig_rax == 16;
                if entering && ioctl && registers.rsi >> 8 & 0xff == KVMIO {
                    seen.push((name(registers.rsi), registers.rdx));
                }
                entering = !entering;
            }
            WaitStatus::Exited(_, code) => {
                assert_eq!(code, 42);
                return seen;
            }
            WaitStatus::Stopped(..) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_plain_run_makes_the_ioctls_of_the_twelve_steps_in_order() {
    // mov eax, 42; out 0xf4, eax
    let image = Elf::new(&[0xb8, 42, 0, 0, 0, 0xe7, 0xf4]).bytes();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), image).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    command.arg("run").arg(file.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut seen = kvm_ioctls(command);
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
