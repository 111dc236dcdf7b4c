//! A call of numbers is one exit: one KVM_RUN, and no other ioctl. Seen from outside, by tracing
//! the system calls of this very test program while it runs one of its tests.

#[path = "../../tests/common/mod.rs"]
mod common;
mod tracer;

use common::calls::{TABLE, note};
use common::elf::{Elf, NOTE, Ph, R, data};
use common::kvm;
use portcall::abi::note::{TYPE_CALLS, TYPE_SERVES};
use portcall::{End, Image, Vm};
use std::process::{Command, Stdio};

portcall::abi::hypercalls! {
    /// A sum, kept on either side.
    trait Sum {
        fn add(&mut self, amount: u64) -> u64;
    }
}

#[derive(Default)]
struct Total(u64);

impl Sum for Total {
    fn add(&mut self, amount: u64) -> u64 {
        self.0 += amount;
        self.0
    }
}

const CALLS: u64 = 100;

/// The same file, which says that it calls or answers the interface.
fn noted(file: Elf, kind: u32) -> Elf {
    let note = note(kind, b"Sum\0add(amount: u64) -> u64\0");
    let size = note.len() as u64;
    file.with(Ph { kind: NOTE, flags: R, memsz: size, align: 4, ..data(0, size) }, &note)
}

#[test]
fn a_guest_calls_its_host() {
    let code = code!(calling:
        "mov ebx, 100"
        "2: mov eax, [0x200000]" "mov edi, ebx" "out 0xf7, eax" "dec ebx" "jnz 2b"
        "hlt"
    );
    let number = u64::from(INTERFACE.number(0)).to_le_bytes();
    // An image without this note makes two ioctls more, at its first call.
    let file = Elf::new(code).with(data(TABLE, 8), &number);
    let file = noted(file, TYPE_CALLS).bytes();
    let image = Image::parse(&file).expect("an image");
    let mut vm =
        Vm::builder(&kvm(), &image).serve(Server(Total::default())).build().expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, CALLS * (CALLS + 1) / 2));
}

#[test]
fn a_host_calls_its_guest() {
    let code = code!(answering:
        "mov rbx, [rdi + 96]" "xor ecx, ecx"
        "2: xor eax, eax" "out 0xf8, eax" "add rcx, [rbx + 8]" "mov [rbx + 8], rcx" "jmp 2b"
    );
    let file = noted(Elf::new(code), TYPE_SERVES).bytes();
    let image = Image::parse(&file).expect("an image");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    assert_eq!(vm.run().expect("runs").end, End::Serving);
    let mut sum = Client(vm.door());
    let total = (1..=CALLS).fold(0, |_, amount| sum.add(amount).expect("answers"));
    assert_eq!(total, CALLS * (CALLS + 1) / 2);
}

/// The ioctls of one of the tests above, from its first KVM_RUN on.
fn ioctls_of(test: &str) -> Vec<&'static str> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test]).stdout(Stdio::null()).stderr(Stdio::null());
    let (seen, code) = tracer::kvm_ioctls(command);
    assert_eq!(code, 0, "{test} fails by itself");
    let names = seen.into_iter().map(|(name, _)| name);
    names.skip_while(|name| *name != "KVM_RUN").collect()
}

/// Says where two long lists differ, rather than both.
#[track_caller]
fn same(seen: &[&str], expected: &[&str]) {
    let difference = seen.iter().zip(expected).position(|(seen, expected)| seen != expected);
    let at = difference.unwrap_or(expected.len());
    assert_eq!(difference, None, "ioctl {at} is {:?}", seen.get(at));
    assert_eq!(seen.len(), expected.len());
}

#[test]
fn a_call_to_the_host_is_one_kvm_run_and_nothing_else() {
    // One for each call, one for the end; then the registers of the outcome.
    let mut expected = vec!["KVM_RUN"; 101];
    expected.push("KVM_GET_REGS");
    same(&ioctls_of("a_guest_calls_its_host"), &expected);
}

#[test]
fn a_call_to_the_guest_is_one_kvm_run_and_nothing_else() {
    // Up to where it serves, and the registers of that outcome; then one for each call.
    let mut expected = vec!["KVM_RUN", "KVM_GET_REGS"];
    expected.extend(["KVM_RUN"; 100]);
    same(&ioctls_of("a_host_calls_its_guest"), &expected);
}
