//! Runs with devices that are seen in memory and with MSRs, recorded and replayed without them. All
//! of these need KVM.

#[path = "../../tests/common/mod.rs"]
mod common;
mod bench;

use bench::{Configure, played, recorded, recorded_in};
use common::elf::Elf;
use portcall::{End, Gpa, Guest, Mmio, Msrs, Ring, Vm};
use replay::{Log, Verdict};
use std::io::Cursor;

/// Counts what it is asked, says so, and writes to memory. All ones are too much for it.
struct Device(u64);

impl Device {
    fn next(&mut self, guest: &mut Guest<'_>) -> u64 {
        self.0 += 0x0101_0101_0101;
        guest.print(format!("[{:x}]", self.0));
        guest.memory().store_u64(Gpa(0x8000), self.0).expect("RAM");
        self.0
    }
}

impl Mmio for Device {
    fn read(&mut self, guest: &mut Guest<'_>, _: Gpa, _: u8) -> Result<u64, End> {
        Ok(self.next(guest))
    }

    fn write(&mut self, guest: &mut Guest<'_>, _: Gpa, _: u8, value: u64) -> Result<(), End> {
        self.next(guest);
        if value == u64::MAX {
            return Err(End::HandlerFailed { message: "too much".to_owned() });
        }
        Ok(())
    }
}

/// Odd ones are not there.
impl Msrs for Device {
    fn read(&mut self, guest: &mut Guest<'_>, msr: u32) -> Result<Option<u64>, End> {
        let value = self.next(guest);
        Ok((msr & 1 == 0).then_some(value))
    }

    fn write(&mut self, guest: &mut Guest<'_>, msr: u32, value: u64) -> Result<bool, End> {
        self.next(guest);
        if value == u64::MAX {
            return Err(End::HandlerFailed { message: "too much".to_owned() });
        }
        Ok(msr & 1 == 0)
    }
}

const DEVICES: Configure = |builder| {
    builder.mmio(0xd000_0000..0xd000_2000, Device(0)).msrs(0x1_1000..=0x1_100f, Device(7))
};

fn run(vm: &mut Vm) {
    vm.run().expect("runs");
}

/// Records it, and replays it, which must come to the same.
fn same(ring: Ring, code: &[u8]) -> (End, Vec<u8>) {
    let (first, log) = recorded_in(ring, &Elf::new(code).bytes(), DEVICES, run);
    let machine = Log::read(Cursor::new(log.clone())).expect("a log").machine().clone();
    assert_eq!((machine.windows.len(), machine.msrs.len()), (1, 1));
    let (again, verdict) = played(&log, None);
    assert!(matches!(verdict, Verdict::Same), "{verdict:?}: {}", again.outcome.end);
    assert_eq!(again.outcome.end, first.outcome.end);
    assert_eq!(again.outcome.registers, first.outcome.registers);
    assert_eq!(again.outcome.stats, first.outcome.stats);
    assert_eq!(again.text, first.text);
    (first.outcome.end, log)
}

fn replaced(code: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = code.windows(from.len()).position(|it| it == from).expect("it is there");
    [&code[..at], to, &code[at + from.len()..]].concat()
}

/// What another guest comes to by this log.
fn diverged(log: &[u8], code: &[u8]) -> (String, String) {
    let (run, verdict) = played(log, Some(&Elf::new(code).bytes()));
    assert!(matches!(verdict, Verdict::Diverged), "{verdict:?}: {}", run.outcome.end);
    let end = run.outcome.end;
    let said =
        if let End::Diverged { expected, actual } = end { Some((expected, actual)) } else { None };
    said.expect("an end that says what differs")
}

#[test]
fn a_window_is_answered_again_without_its_device() {
    let code = code!(replay_mmio:
        "mov ebx, 0xd0000000" "mov rax, [rbx]" "mov [rbx + 8], al" "mov rcx, [0x8000]"
        "add [rbx + 16], ecx" "mov rsi, [rbx + 0xffd]" "mov rdi, [0x8000]" "mov edx, 7"
        "mov [rbx + 4], edx" "hlt"
    );
    for ring in [Ring::Zero, Ring::Three] {
        let (end, log) = same(ring, code);
        assert_eq!(end, End::Halted);
        // mov edx, 7; another value, size, address, a read in place of the write.
        let other = replaced(code, &[0xba, 7, 0, 0, 0], &[0xba, 8, 0, 0, 0]);
        let was = "write of 0x7 to 0xd0000004, 4 bytes".to_owned();
        assert_eq!(diverged(&log, &other), (was.clone(), was.replace("0x7 ", "0x8 ")));
        let other = replaced(code, &[0x89, 0x53, 4], &[0x89, 0x53, 5]);
        assert_eq!(diverged(&log, &other), (was.clone(), was.replace("0004", "0005")));
        let other = replaced(code, &[0x89, 0x53, 4], &[0x8b, 0x53, 4]);
        assert_eq!(diverged(&log, &other).1, "read of 0xd0000004, 4 bytes");
        let other = replaced(code, &[0x89, 0x53, 4], &[0xf4, 0x53, 4]);
        assert_eq!(diverged(&log, &other).0, was);
    }
}

#[test]
fn registers_are_answered_again_and_so_is_a_fault() {
    let code = code!(replay_msr:
        "mov ecx, 0x11000" "rdmsr" "mov esi, eax" "wrmsr" "mov rdi, [0x8000]" "mov ecx, 0x11003"
        "rdmsr" "hlt"
    );
    let (end, log) = same(Ring::Zero, code);
    assert!(matches!(end, End::Exception(it) if it.vector == 13), "{end}");
    let other = replaced(code, &[0xb9, 3, 0x10], &[0xb9, 2, 0x10]);
    let said = diverged(&log, &other);
    assert_eq!(said, ("read of MSR 0x11003".to_owned(), "read of MSR 0x11002".to_owned()));
}

#[test]
fn an_end_that_a_device_made_is_made_again() {
    let memory = code!(replay_mmio_end: "mov ebx, 0xd0000000" "mov rax, -1" "mov [rbx], rax" "hlt");
    let msr = code!(replay_msr_end:
        "mov ecx, 0x11000" "mov eax, -1" "mov edx, -1" "wrmsr" "hlt"
    );
    for (ring, code) in [(Ring::Zero, memory), (Ring::Three, memory), (Ring::Zero, msr)] {
        let (end, _) = same(ring, code);
        assert_eq!(end, End::HandlerFailed { message: "too much".to_owned() });
    }
}

#[test]
fn no_ram_is_no_device_whether_there_is_a_window_or_not() {
    let code = code!(replay_no_ram: "mov ebx, 0xd0002000" "mov eax, [rbx]" "hlt");
    let (first, log) = recorded(&Elf::new(code).bytes(), DEVICES, run);
    assert!(matches!(first.outcome.end, End::Exception(it) if it.vector == 14));
    let (again, verdict) = played(&log, None);
    assert!(matches!(verdict, Verdict::Same), "{verdict:?}: {}", again.outcome.end);
}
