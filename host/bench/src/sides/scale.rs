//! One point of a curve: the same work at one size, by the library or by bare ioctls.

use super::{Sample, Whose, words};
use crate::guests;
use crate::naive;
use measures::statistics::Summary;
use portcall::abi::calls::Interface;
use portcall::{End, Guest, Image, Kvm, Ports, Ring, Vm};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What of it is of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Size {
    /// VMs that are alive meanwhile: microseconds of one more, created, run and dropped.
    Alive,
    /// VMs that are alive: KiB of the machine's memory that each takes, the kernel's with it.
    AliveMemory,
    /// MiB of memory of a VM: microseconds of its life.
    Memory,
    /// KiB of image: microseconds of a VM's life.
    Image,
    /// Pages that a guest writes to: microseconds until it is as new, restored or made, and has written
    /// to them once more.
    Touched,
    /// Bytes that a call hands over: microseconds a call.
    Payload,
    /// Threads that make VMs, run them and drop them: VMs a second.
    Threads,
}

mod taker {
    portcall::abi::hypercalls! {
        /// Takes bytes.
        pub trait Taker {
            /// How many they are.
            fn take(&mut self, bytes: &[u8]) -> u64;
        }
    }
}

/// VMs, or calls, that the median is taken of.
const LIVES: usize = 15;

/// How long threads are let work.
const WORK: Duration = Duration::from_millis(700);

pub(super) fn play(size: Size, whose: Whose, x: u64) -> Result<(), String> {
    let value = match size {
        Size::Alive => alive(whose, x)?,
        Size::AliveMemory => alive_memory(whose, x)?,
        Size::Memory => median(|| life(whose, &guests::minimal(), x << 20, Ring::Zero))?,
        Size::Image => {
            let mut code = guests::minimal();
            code.resize(whole(x << 10)?, 0x90);
            median(|| life(whose, &code, 128 << 20, Ring::Zero))?
        }
        Size::Touched => touched(whose, u32::try_from(x).map_err(words)?)?,
        Size::Payload => payload(whose, x)?,
        Size::Threads => threads(whose, x)?,
    };
    Sample { value, instructions: None }.say()
}

fn whole(bytes: u64) -> Result<usize, String> {
    usize::try_from(bytes).map_err(words)
}

/// Microseconds of the one in the middle.
fn median(mut once: impl FnMut() -> Result<Duration, String>) -> Result<f64, String> {
    let mut times = Vec::new();
    for _ in 0..=LIVES {
        times.push(once()?.as_secs_f64() * 1e6);
    }
    // The first is a warm-up.
    Ok(Summary::of(&times[1..]).ok_or("nothing was measured")?.median)
}

/// Creates a VM, runs it to its first exit, drops it.
fn life(whose: Whose, code: &[u8], memory: u64, ring: Ring) -> Result<Duration, String> {
    let start = Instant::now();
    match whose {
        Whose::Ours => {
            let kvm = Kvm::open().map_err(words)?;
            drop(ours(&kvm, code, memory, ring)?);
        }
        Whose::Bare => {
            let kvm = naive::Kvm::open();
            drop(bare(&kvm, code, memory, ring)?);
        }
    }
    Ok(start.elapsed())
}

fn ours(kvm: &Kvm, code: &[u8], memory: u64, ring: Ring) -> Result<Vm, String> {
    let image = Image::flat(code).map_err(words)?;
    let mut vm = Vm::builder(kvm, &image).memory(memory).ring(ring).build().map_err(words)?;
    let end = vm.run().map_err(words)?.end;
    if matches!(end, End::Exited(_)) { Ok(vm) } else { Err(words(end)) }
}

fn bare(kvm: &naive::Kvm, code: &[u8], memory: u64, ring: Ring) -> Result<naive::Vm, String> {
    let mut vm = naive::Vm::create_with(kvm, code, ring, whole(memory)?);
    vm.run();
    Ok(vm)
}

/// Keeps `count` of them, and does something meanwhile.
fn with_alive<T>(
    whose: Whose,
    count: u64,
    during: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    const MEMORY: u64 = 2 << 20;
    let code = guests::minimal();
    match whose {
        Whose::Ours => {
            let kvm = Kvm::open().map_err(words)?;
            let make = |_| ours(&kvm, &code, MEMORY, Ring::Zero);
            let _all = (0..count).map(make).collect::<Result<Vec<_>, _>>()?;
            during()
        }
        Whose::Bare => {
            let kvm = naive::Kvm::open();
            let make = |_| bare(&kvm, &code, MEMORY, Ring::Zero);
            let _all = (0..count).map(make).collect::<Result<Vec<_>, _>>()?;
            during()
        }
    }
}

fn alive(whose: Whose, count: u64) -> Result<f64, String> {
    many_files()?;
    with_alive(whose, count, || median(|| life(whose, &guests::minimal(), 2 << 20, Ring::Zero)))
}

fn alive_memory(whose: Whose, count: u64) -> Result<f64, String> {
    many_files()?;
    // What is taken once, and is still taken back from the last process of this kind.
    with_alive(whose, 4, || Ok(()))?;
    std::thread::sleep(Duration::from_millis(200));
    let before = available()?;
    let after = with_alive(whose, count, available)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok((before - after) / count as f64)
}

/// KiB of memory that the machine has left.
fn available() -> Result<f64, String> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(words)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| "/proc/meminfo has no MemAvailable".to_owned())
}

/// Two file descriptors a VM are more than a process has as a rule.
fn many_files() -> Result<(), String> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(words)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(words)
}

fn touched(whose: Whose, pages: u32) -> Result<f64, String> {
    const MEMORY: u64 = 128 << 20;
    let code = guests::toucher(pages);
    if whose == Whose::Bare {
        return median(|| life(whose, &code, MEMORY, Ring::Three));
    }
    let kvm = Kvm::open().map_err(words)?;
    let image = Image::flat(&code).map_err(words)?;
    let builder = Vm::builder(&kvm, &image).memory(MEMORY).ring(Ring::Three);
    let mut vm = builder.build().map_err(words)?;
    let snapshot = vm.snapshot().map_err(words)?;
    for _ in 0..2 {
        vm.restore(&snapshot).map_err(words)?;
        vm.run().map_err(words)?;
    }
    median(|| {
        let start = Instant::now();
        vm.restore(&snapshot).map_err(words)?;
        let end = vm.run().map_err(words)?.end;
        if matches!(end, End::Exited(_)) { Ok(start.elapsed()) } else { Err(words(end)) }
    })
}

/// Where the bytes of a call are.
const BYTES: u64 = 4 << 20;

struct Take(u64);

impl taker::Taker for Take {
    fn take(&mut self, bytes: &[u8]) -> u64 {
        self.0 += bytes.len() as u64;
        self.0
    }
}

/// Ends the run at the second round that the guest asks for.
struct Once(bool);

impl Ports for Once {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
        if std::mem::replace(&mut self.0, true) { Err(End::Stopped) } else { Ok(()) }
    }
}

fn payload(whose: Whose, bytes: u64) -> Result<f64, String> {
    const CALLS: u32 = 200;
    const INTERFACE: Interface = taker::INTERFACE;
    let size = u32::try_from(bytes).map_err(words)?;
    let code = guests::giver(INTERFACE.number(0), CALLS, BYTES, size);
    let each = |start: Instant| start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS);
    match whose {
        Whose::Ours => {
            let kvm = Kvm::open().map_err(words)?;
            let image = Image::flat(&code).map_err(words)?;
            let mut vm = Vm::builder(&kvm, &image)
                .serve(taker::Server(Take(0)))
                .ports(guests::ROUND..=guests::ROUND, Once(false))
                .build()
                .map_err(words)?;
            vm.step().map_err(words)?;
            let start = Instant::now();
            let end = vm.run().map_err(words)?.end;
            if end == End::Stopped { Ok(each(start)) } else { Err(words(end)) }
        }
        Whose::Bare => {
            let mut vm = naive::Vm::create(&naive::Kvm::open(), &code, Ring::Zero);
            vm.sync();
            vm.run();
            let mut copy = vec![0; whole(bytes)?];
            let start = Instant::now();
            while vm.run().port != guests::ROUND {
                vm.copy(whole(BYTES)?, &mut copy);
                vm.answer(|regs| regs.rax = std::hint::black_box(&copy).len() as u64);
            }
            Ok(each(start))
        }
    }
}

fn threads(whose: Whose, count: u64) -> Result<f64, String> {
    let end = Instant::now() + WORK;
    let work = || {
        let (code, mut lives) = (guests::minimal(), 0_u32);
        while Instant::now() < end {
            life(whose, &code, 16 << 20, Ring::Zero)?;
            lives += 1;
        }
        Ok::<_, String>(lives)
    };
    let lives = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|it| it.join().unwrap_or(Ok(0))).sum::<Result<u32, _>>()
    })?;
    Ok(f64::from(lives) / WORK.as_secs_f64())
}
