//! The KVM ioctls of a process, seen from outside by tracing its system calls.

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// KVM's ioctls (Linux, include/uapi/linux/kvm.h): the type byte of all is 0xAE.
const KVMIO: u64 = 0xae;

fn name(request: u64) -> &'static str {
    match request & 0xff {
        0x01 => "KVM_CREATE_VM",
        0x03 => "KVM_CHECK_EXTENSION",
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

/// The KVM ioctls that a command makes, in all its threads: name and argument; and its exit code.
#[expect(clippy::panic, reason = "that is how a test fails")]
#[expect(clippy::zombie_processes, reason = "it is waited for by ptrace's own means")]
pub(crate) fn kvm_ioctls(mut command: Command) -> (Vec<(&'static str, u64)>, i32) {
    // SAFETY: between fork and exec only ptrace is called, which is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = command.spawn().expect("starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    waitpid(pid, None).expect("stops at its exec");
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
    ptrace::setoptions(pid, options).expect("options");
    ptrace::syscall(pid, None).expect("goes on");
    // The threads that are inside a system call.
    let (mut seen, mut inside) = (Vec::new(), HashSet::new());
    // Not the children of other tests.
    let ours = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        let (thread, signal) = match waitpid(Pid::from_raw(-1), Some(ours)).expect("stops again") {
            WaitStatus::PtraceSyscall(thread) => {
                if !inside.remove(&thread) {
                    inside.insert(thread);
                    let registers = ptrace::getregs(thread).expect("registers");
                    let ioctl = registers.orig_rax == 16;
                    if ioctl && registers.rsi >> 8 & 0xff == KVMIO {
                        seen.push((name(registers.rsi), registers.rdx));
                    }
                }
                (thread, None)
            }
            WaitStatus::Exited(process, code) if process == pid => return (seen, code),
            WaitStatus::Exited(..) => continue,
            // A new thread's first stop, and the exec's.
            WaitStatus::Stopped(thread, Signal::SIGSTOP | Signal::SIGTRAP) => (thread, None),
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            other => panic!("{other:?}"),
        };
        ptrace::syscall(thread, signal).expect("goes on");
    }
}
