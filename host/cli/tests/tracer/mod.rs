//! The KVM ioctls of a process, seen from outside by tracing its system calls.

use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The stop at a system call (ptrace(2), PTRACE_O_TRACESYSGOOD).
const SYSCALL: i32 = libc::SIGTRAP | 0x80;

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
pub(crate) fn kvm_ioctls(command: Command) -> (Vec<(&'static str, u64)>, i32) {
    let mut seen = Vec::new();
    let code = trace(command, |registers, begins| {
        let ioctl = begins && registers.orig_rax == 16;
        if ioctl && registers.rsi >> 8 & 0xff == KVMIO {
            seen.push((name(registers.rsi), registers.rdx));
        }
    });
    (seen, code)
}

/// Runs a command, and gives its exit code. `call` is told the registers where a system call
/// begins (`true`) and where it ends, in any thread.
#[expect(clippy::zombie_processes, reason = "it is waited for by ptrace's own means")]
pub(crate) fn trace(mut command: Command, mut call: impl FnMut(&user_regs_struct, bool)) -> i32 {
    // SAFETY: between fork and exec only ptrace is called, which is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = command.spawn().expect("starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    waitpid(pid, None).expect("stops at its exec");
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
    ptrace::setoptions(pid, options).expect("options");
    ptrace::syscall(pid, None).expect("goes on");
    // The threads that are inside a system call.
    let mut inside = HashSet::new();
    loop {
        let mut status = 0;
        // Not the children of other tests. By libc, since the VM's ticks are signals that nix has
        // no name for.
        // SAFETY: `status` is writable for the call's duration.
        let thread =
            unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        assert!(thread > 0, "stops again: {}", std::io::Error::last_os_error());
        if libc::WIFEXITED(status) && thread == pid.as_raw() {
            return libc::WEXITSTATUS(status);
        }
        if !libc::WIFSTOPPED(status) {
            assert!(thread != pid.as_raw(), "killed by signal {}", libc::WTERMSIG(status));
            continue;
        }
        let signal = match libc::WSTOPSIG(status) {
            SYSCALL => {
                let begins = !inside.remove(&thread);
                if begins {
                    inside.insert(thread);
                }
                let registers = ptrace::getregs(Pid::from_raw(thread)).expect("registers");
                call(&registers, begins);
                0
            }
            // A new thread's first stop, the exec's, and those that are no signal.
            libc::SIGSTOP | libc::SIGTRAP => 0,
            signal => signal,
        };
        // SAFETY: the thread is stopped, and the call takes no memory of ours.
        let done = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, thread, 0usize, signal) };
        assert_eq!(done, 0, "goes on: {}", std::io::Error::last_os_error());
    }
}
