//! The most memory that a program ever had resident.
//!
//! wait4's ru_maxrss does not tell: it begins with what the process that started the program had
//! (Linux, exec_mmap), which is more than a small program's. So the program is traced, and looked
//! at when it exits, while its memory is still there.

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// KiB, of a command that has to end with code 0.
pub(crate) fn of(command: &mut Command) -> Result<f64, String> {
    // SAFETY: between fork and exec the closure makes one system call and nothing else.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from)) };
    let child = command.spawn().map_err(|error| format!("cannot start: {error}"))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|error| error.to_string())?);
    let failed = |error: nix::Error| format!("cannot trace {:?}: {error}", command.get_program());
    // It stops at its exec.
    waitpid(pid, None).map_err(failed)?;
    let options = Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(pid, options).map_err(failed)?;
    let mut peak = None;
    let mut signal = None;
    loop {
        ptrace::cont(pid, signal.take()).map_err(failed)?;
        match waitpid(pid, None).map_err(failed)? {
            WaitStatus::PtraceEvent(_, Signal::SIGTRAP, event)
                if event == Event::PTRACE_EVENT_EXIT as i32 =>
            {
                peak = high_water(pid);
            }
            WaitStatus::Stopped(_, other) => signal = Some(other),
            WaitStatus::Exited(_, 0) => return peak.ok_or_else(|| "no VmHWM".to_owned()),
            WaitStatus::PtraceEvent(..) => {}
            end => return Err(format!("{:?} ended: {end:?}", command.get_program())),
        }
    }
}

/// VmHWM of /proc/PID/status (proc(5)).
fn high_water(pid: Pid) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_touches_is_seen_and_what_we_have_is_not() {
        let ours = std::hint::black_box(vec![1_u8; 64 << 20]);
        let small = of(&mut Command::new("true")).expect("runs");
        assert!(small > 0.0 && small < 32.0 * 1024.0, "{small} KiB");
        let script = "x=$(head -c 67108864 /dev/zero | tr '\\0' a)";
        let large = of(Command::new("sh").args(["-c", script])).expect("runs");
        assert!(large > 64.0 * 1024.0, "{large} KiB");
        drop(ours);
    }

    #[test]
    fn a_program_that_fails_is_an_error() {
        let error = of(&mut Command::new("false")).expect_err("it fails");
        assert!(error.contains("Exited"), "{error}");
    }
}
