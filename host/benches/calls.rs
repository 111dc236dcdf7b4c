//! What a typed call costs over bare ioctls: the same guest, once answered by this library, once by
//! a loop as a C tutorial has it, in alternating rounds. Both ways: a call of the guest's, and one
//! of the host's.
//!
//!     cargo bench -p portcall --bench calls [-- ROUNDS]

use calls::calc;
use portcall::abi::calls::Interface;
use portcall::kvm_bindings::{KVM_EXIT_IO, KVM_SYNC_X86_REGS, KVMIO, kvm_run};
use portcall::sys::KvmStats;
use portcall::{End, Image, Kvm, Ring, Vm};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

mod counter {
    portcall::abi::hypercalls! {
        /// A counter on the host.
        pub trait Counter {
            /// Adds to it; returns what it is then.
            fn add(&mut self, amount: u64) -> u64;
        }
    }
}

/// Calls of a round.
const CALLS: u32 = 400;

/// KVM_RUN: `_IO(KVMIO, 0x80)`.
const KVM_RUN: libc::c_ulong = ((KVMIO as libc::c_ulong) << 8) | 0x80;

struct Count(u64);

impl counter::Counter for Count {
    fn add(&mut self, amount: u64) -> u64 {
        self.0 = self.0.wrapping_add(amount);
        self.0
    }
}

/// mov ebx, CALLS; 1: mov edi, 3; mov eax, NUMBER; out 0xf7, eax; dec ebx; jnz 1b; out 0xf4, al
fn caller(interface: &Interface) -> Vec<u8> {
    let mut code = vec![0xbb];
    code.extend(CALLS.to_le_bytes());
    code.extend([0xbf, 3, 0, 0, 0, 0xb8]);
    code.extend(interface.number(0).to_le_bytes());
    code.extend([0xe7, 0xf7, 0xff, 0xcb, 0x75, 0xf0, 0xe6, 0xf4]);
    code
}

fn vm(kvm: &Kvm, image: &Image<'_>, ring: Ring) -> Vm {
    let server = counter::Server(Count(0));
    Vm::builder(kvm, image).ring(ring).serve(server).build().expect("builds")
}

/// A round of the library's, and the instructions that KVM emulated in it.
fn ours(kvm: &Kvm, image: &Image<'_>, ring: Ring) -> (Duration, Option<u64>) {
    let mut vm = vm(kvm, image, ring);
    let stats = KvmStats::open(vm.vcpu_fd()).ok();
    let start = Instant::now();
    let outcome = vm.run().expect("runs");
    let time = start.elapsed();
    let instructions = stats.and_then(|stats| stats.get("insn_emulation"));
    assert!(matches!(outcome.end, End::Exited(_)), "{}", outcome.end);
    assert_eq!(outcome.registers.rax, 3 * u64::from(CALLS));
    (time, instructions)
}

/// The same machine, run by bare ioctls: KVM_RUN, and the call's work by hand.
fn bare(kvm: &Kvm, image: &Image<'_>, ring: Ring) -> Duration {
    let vm = vm(kvm, image, ring);
    let fd = vm.vcpu_fd().as_raw_fd();
    let size = kvm.fd().get_vcpu_mmap_size().expect("a size");
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of a vCPU's kvm_run, as the KVM API documentation has it.
    let mapping =
        unsafe { libc::mmap(std::ptr::null_mut(), size, protection, libc::MAP_SHARED, fd, 0) };
    assert_ne!(mapping, libc::MAP_FAILED);
    let run: *mut kvm_run = mapping.cast();
    // SAFETY: the mapping is this function's alone, and lives until its end; the VM is not run
    // by anyone else meanwhile.
    let run = unsafe { &mut *run };
    run.kvm_valid_regs = KVM_SYNC_X86_REGS.into();
    let mut count = 0u64;
    let start = Instant::now();
    let time = loop {
        // SAFETY: KVM_RUN on a vCPU takes no argument.
        let done = unsafe { libc::ioctl(fd, KVM_RUN, 0) };
        assert_eq!((done, run.exit_reason), (0, KVM_EXIT_IO));
        // SAFETY: the exit reason names this member.
        let io = unsafe { run.__bindgen_anon_1.io };
        if io.port != 0xf7 {
            break start.elapsed();
        }
        // SAFETY: `kvm_valid_regs` has asked for them.
        let registers = unsafe { &mut run.s.regs.regs };
        count = count.wrapping_add(registers.rdi);
        registers.rax = count;
        run.kvm_dirty_regs = KVM_SYNC_X86_REGS.into();
    };
    assert_eq!(count, 3 * u64::from(CALLS));
    // SAFETY: mapped above, and used no more.
    unsafe { libc::munmap(mapping, size) };
    time
}

/// The median, and the bounds of its 95% confidence interval by the binomial distribution.
fn median(samples: &mut [f64]) -> (f64, f64, f64) {
    samples.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    #[expect(clippy::cast_possible_truncation, reason = "less than their number")]
    #[expect(clippy::cast_sign_loss, reason = "a root")]
    let margin = (0.98 * (samples.len() as f64).sqrt()).ceil() as usize;
    let middle = samples.len() / 2;
    let at = |i: usize| samples[i.min(samples.len() - 1)];
    (at(middle), at(middle.saturating_sub(margin)), at(middle + margin))
}

fn guest_to_host(kvm: &Kvm, ring: Ring, rounds: usize) {
    let code = caller(&counter::INTERFACE);
    let image = Image::flat(&code).expect("code");
    let mut ratios = Vec::new();
    let (mut our, mut their) = (Vec::new(), Vec::new());
    let mut emulated = None;
    for round in 0..rounds {
        // Each is first in every other round.
        let ((a, instructions), b) = if round % 2 == 0 {
            let a = ours(kvm, &image, ring);
            (a, bare(kvm, &image, ring))
        } else {
            let b = bare(kvm, &image, ring);
            (ours(kvm, &image, ring), b)
        };
        emulated = instructions;
        let (a, b) = (a.as_secs_f64() * 1e6, b.as_secs_f64() * 1e6);
        ratios.push(a / b);
        our.push(a / f64::from(CALLS));
        their.push(b / f64::from(CALLS));
    }
    let (ratio, low, high) = median(&mut ratios);
    println!(
        "{ring:?}: guest to host, a number: {:.2} us, bare ioctls {:.2} us, ratio {ratio:.3} \
         ({low:.3} to {high:.3}, {rounds} pairs of {CALLS} calls)",
        median(&mut our).0,
        median(&mut their).0,
    );
    if let Some(count) = emulated.filter(|_| ring == Ring::Zero) {
        // The stub is three of them; the others count the calls.
        let each = count / u64::from(CALLS);
        println!("      instructions that KVM emulated: {each} a call, 3 of them the stub's");
    }
}

/// What an exit of a guest that does nothing else takes by bare ioctls.
fn bare_exit(kvm: &Kvm, ring: Ring) -> f64 {
    let code = caller(&counter::INTERFACE);
    let image = Image::flat(&code).expect("code");
    bare(kvm, &image, ring).as_secs_f64() * 1e6 / f64::from(CALLS)
}

/// The guest `calc`, built as `cargo xtask` builds it.
fn calc() -> Vec<u8> {
    let mut build = Command::new(env!("CARGO"));
    let output = build.args(["xtask", "build", "calc"]).output().expect("cargo starts");
    let path = String::from_utf8(output.stdout).expect("a path");
    std::fs::read(path.trim_end()).expect("the guest calc was built")
}

fn host_to_guest(kvm: &Kvm, image: &Image<'_>, ring: Ring, rounds: usize) {
    let mut vm = Vm::builder(kvm, image).ring(ring).build().expect("builds");
    let (mut add, mut echo) = (Vec::new(), Vec::new());
    let mut exit = Vec::new();
    for _ in 0..rounds {
        let mut calc = calc::Client(vm.door());
        let start = Instant::now();
        for _ in 0..CALLS {
            assert_eq!(calc.add(2, 3).expect("answers"), 5);
        }
        add.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS));
        let start = Instant::now();
        for _ in 0..CALLS {
            assert_eq!(calc.echo("twenty bytes of text").expect("answers").len(), 20);
        }
        echo.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS));
        exit.push(bare_exit(kvm, ring));
    }
    let mut over: Vec<f64> = echo.iter().zip(&exit).map(|(echo, exit)| echo / exit).collect();
    let (ratio, low, high) = median(&mut over);
    println!(
        "{ring:?}: host to guest, two numbers: {:.2} us, a text of 20 bytes and back: {:.2} us, that \
         is {ratio:.2} ({low:.2} to {high:.2}) of a bare exit's {:.2} us ({rounds} rounds)",
        median(&mut add).0,
        median(&mut echo).0,
        median(&mut exit).0,
    );
    instructions(&mut vm);
}

/// How many instructions the guest takes for a call, where KVM counts them.
fn instructions(vm: &mut Vm) {
    let stats = KvmStats::open(vm.vcpu_fd()).ok();
    let count = || stats.as_ref().and_then(|stats| stats.get("insn_emulation"));
    let start = count();
    calc::Client(vm.door()).add(2, 3).expect("answers");
    let add = count();
    calc::Client(vm.door()).echo("twenty bytes of text").expect("answers");
    if let (Some(start), Some(add), Some(echo)) = (start, add, count()) {
        println!("      instructions that KVM emulated: {} and {}", add - start, echo - add);
    }
}

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(400);
    let kvm = Kvm::open().expect("this bench needs KVM");
    let calc = calc();
    let calc = Image::parse(&calc).expect("an image");
    for ring in [Ring::Zero, Ring::Three] {
        guest_to_host(&kvm, ring, rounds);
        host_to_guest(&kvm, &calc, ring, rounds / 4);
    }
}
