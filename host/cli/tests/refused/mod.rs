//! What the jail refuses, seen from outside.

use crate::tracer;
use std::process::{Command, Stdio};

/// Runs it to its end, which has that process code, and fails where a call was refused in the
/// jail, which it has to be in.
#[track_caller]
pub(crate) fn assert_nothing_refused(what: &str, mut command: Command, expected: i32) {
    const SECCOMP: u64 = 317;
    // What is said is not looked at here.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (mut jailed, mut refused) = (false, Vec::new());
    let code = tracer::trace(command, |registers, begins| {
        if begins {
            return;
        }
        jailed |= registers.orig_rax == SECCOMP && registers.rax == 0;
        if jailed && registers.rax.cast_signed() == -1 {
            let (rdi, rsi, rdx) = (registers.rdi, registers.rsi, registers.rdx);
            refused.push(format!("{}({rdi:#x}, {rsi:#x}, {rdx:#x})", registers.orig_rax));
        }
    });
    assert!(jailed, "{what}: there was no jail");
    assert_eq!(refused, Vec::<String>::new(), "{what}: these are in no table");
    assert_eq!(code, expected, "{what}");
}
