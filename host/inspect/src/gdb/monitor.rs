//! `monitor` commands: what gdb itself cannot know of a guest.

use super::target::Target;
use portcall::exit::ExitKind;
use portcall::registers;
use portcall::{CallEvent, Observer};
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// How many calls are kept.
const KEPT: usize = 16;

/// The last calls of a guest's: an observer, whose clones share them.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<VecDeque<String>>>);

impl Journal {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Observer for Journal {
    fn wants_calls(&self) -> bool {
        true
    }

    fn call(&mut self, call: &CallEvent<'_>) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == KEPT {
            calls.pop_front();
        }
        let result = if call.result.is_empty() { "" } else { " = " };
        calls.push_back(format!("{}{result}{}", call.call, call.result));
    }
}

const HELP: &str = "\
monitor exits           how many exits the guest has made, by kind
monitor calls           its last hypercalls
monitor walk ADDRESS    where an address leads, table by table
monitor registers       general, segment, control and table registers
";

/// What a command says.
pub(super) fn answer(target: &mut Target<'_, '_>, command: &[u8]) -> String {
    let command = String::from_utf8_lossy(command);
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        [] | ["help"] => HELP.to_owned(),
        ["exits"] => exits(target),
        ["calls"] => calls(target),
        ["registers"] => registers_of(target),
        ["walk", address] => match number(target, address) {
            Some(address) => target.space(|space| space.walk(address)) + "\n",
            None => format!("{} is no address; say 0x1234, or $rsp\n", crate::printable(address)),
        },
        ["walk", ..] => "monitor walk ADDRESS\n".to_owned(),
        [other, ..] => {
            format!("there is no `monitor {}`; there are:\n{HELP}", crate::printable(other))
        }
    }
}

/// A number as gdb prints addresses, a decimal one, or a register's, which gdb does not put in here.
fn number(target: &mut Target<'_, '_>, text: &str) -> Option<u64> {
    if let Some(register) = text.strip_prefix('$') {
        let name = if register == "pc" { "rip" } else { register };
        return registers::by_name(&target.vm().registers().ok()?, name);
    }
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn exits(target: &mut Target<'_, '_>) -> String {
    let stats = target.vm().stats();
    let mut text = String::new();
    for kind in ExitKind::ALL.into_iter().filter(|kind| stats.exits_of(*kind) > 0) {
        // Writing to a String does not fail, here and below.
        let _ = writeln!(text, "{:>10}  {}", stats.exits_of(kind), kind.name());
    }
    let _ = writeln!(text, "{:>10}  all but interruptions", stats.exits());
    for (port, (reads, writes)) in stats.unanswered.iter().take(KEPT) {
        let _ = writeln!(text, "nobody answers port {port:#x}: {reads} reads, {writes} writes");
    }
    text
}

fn calls(target: &mut Target<'_, '_>) -> String {
    let made = target.vm().stats().calls;
    let lines = target.journal().lines();
    let mut text = format!("{made} calls");
    if !lines.is_empty() {
        let _ = write!(text, ", the last of them:");
    }
    for line in lines {
        let _ = write!(text, "\n  {}", crate::printable(&line));
    }
    text + "\n"
}

fn registers_of(target: &mut Target<'_, '_>) -> String {
    let vm = target.vm();
    let (Ok(regs), Ok(sregs)) = (vm.registers(), vm.system_registers()) else {
        return "KVM does not give the registers\n".to_owned();
    };
    let mut text = String::new();
    for (i, (name, value)) in registers::named(&regs).into_iter().enumerate() {
        let _ = write!(text, "{name:>6} {value:#018x}{}", if i % 3 == 2 { "\n" } else { "  " });
    }
    let segments = [
        ("cs", sregs.cs),
        ("ss", sregs.ss),
        ("ds", sregs.ds),
        ("es", sregs.es),
        ("fs", sregs.fs),
        ("gs", sregs.gs),
        ("tr", sregs.tr),
        ("ldt", sregs.ldt),
    ];
    for (name, it) in segments {
        let (selector, base, limit) = (it.selector, it.base, it.limit);
        let _ = writeln!(text, "{name:>6} {selector:#06x}, base {base:#x}, limit {limit:#x}");
    }
    for (name, it) in [("gdt", sregs.gdt), ("idt", sregs.idt)] {
        let _ = writeln!(text, "{name:>6} base {:#x}, limit {:#x}", it.base, it.limit);
    }
    let control = [("cr0", sregs.cr0), ("cr2", sregs.cr2), ("cr3", sregs.cr3), ("cr4", sregs.cr4)];
    for (name, value) in control.into_iter().chain([("efer", sregs.efer)]) {
        let _ = writeln!(text, "{name:>6} {value:#x}");
    }
    text
}
