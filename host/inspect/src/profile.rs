//! Where a guest spends its time: at each tick RIP and the calls that led there.
//!
//! A [`Profiler`] is a [`Driver`] of a VM that was [equipped](Profiler::equip) for it; the guest
//! gives no help, and nothing counts in the processor. What it takes at a tick are addresses, by unwind
//! tables and frame pointers; [`Profile::folded`] looks them up once, at the end, inlined functions as frames of
//! their own.
//!
//! Guest and host are two accounts, by what KVM_RUN took and what the answers took. A tick that
//! finds the guest at work takes a sample of it, which weighs the time that the guest has had since
//! the one before, and no more than the vCPU's thread has had of a processor: a tick that comes late
//! counts for all of it, and what other processes take of the machine for nothing. The host's time is
//! added up from answer to answer: what it takes to have ticks, and to take samples, is in neither. The
//! exit at which it comes to a period has it all: its sample has the
//! frame [`HOST`] on top of the guest's, which made the exit, and weighs the time by the clock,
//! since a handler may wait. What is less than a period at the end is nobody's.
//!
//! ```
//! use inspect::drive;
//! use inspect::profile::Profiler;
//! use portcall::{Image, Kvm, Vm};
//!
//! // mov ecx, 100000; dec ecx; jnz -4; hlt
//! let image = Image::flat(&[0xb9, 0xa0, 0x86, 1, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4])?;
//! let mut profiler = Profiler::new(1000, &image, &[]);
//! let kvm = Kvm::open()?;
//! let builder = Vm::builder(&kvm, &image).memory(2 << 20);
//! let mut vm = profiler.equip(builder).build()?;
//! drive::run(&mut vm, vec![&mut profiler])?;
//! let profile = profiler.finish();
//! assert!(profile.samples() > 0);
//! # Ok::<(), portcall::Error>(())
//! ```

mod folded;
mod frames;

pub use folded::HOST;

use crate::drive::{Driver, Scene};
use frames::{Frames, Rules};
use portcall::{Builder, Error, Exit, ExitEvent, Image, Observer, Step, Stop};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The least and the most samples a second.
pub const RATES: std::ops::RangeInclusive<u32> = 1..=10_000;

/// The most different stacks that are kept; what has another is known by its number alone.
const MAX_STACKS: usize = 1 << 14;

/// How a way up the stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// Where the host had it end, or at the function that the guest begins with.
    Start,
    /// Nothing leads further.
    Lost,
    /// There are more calls than are followed.
    Deep,
}

/// Where the guest was.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Stack {
    /// RIP, then what is returned to.
    addresses: Box<[u64]>,
    origin: Origin,
    /// Whether the host was answering.
    in_host: bool,
}

/// How often, and how long.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    samples: u64,
    time: Duration,
}

impl Weight {
    fn add(&mut self, time: Duration) {
        self.samples += 1;
        self.time += time;
    }
}

/// The samples of a run.
#[derive(Debug, Default)]
pub struct Profile {
    stacks: HashMap<Stack, Weight>,
    /// Of stacks that there was no room for.
    others: Weight,
    /// The function that the guest begins with has nobody who called it.
    entry: u64,
    /// The host's own code in the guest.
    stubs: Range<u64>,
}

impl Profile {
    /// How many there are.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.stacks.values().map(|it| it.samples).sum::<u64>() + self.others.samples
    }

    /// The time that they stand for.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.stacks.values().map(|it| it.time).sum::<Duration>() + self.others.time
    }

    fn take(&mut self, stack: Stack, time: Duration) {
        if let Some(weight) = self.stacks.get_mut(&stack) {
            return weight.add(time);
        }
        if self.stacks.len() >= MAX_STACKS {
            return self.others.add(time);
        }
        self.stacks.entry(stack).or_default().add(time);
    }
}

/// How many periods a sample of the guest may be late before an exit does for a tick. Ticks that
/// find the host at work are none of the guest's, and the next one may find the guest anywhere; an
/// exit finds it where it makes one.
const PATIENCE: u32 = 3;

/// What KVM_RUN took, and the answers.
#[derive(Debug)]
struct Clock {
    /// Since the last sample of the guest.
    guest: Duration,
    /// Since the last sample of the host.
    host: Duration,
    /// When KVM_RUN returned.
    left: Instant,
}

/// The number of the step in which an exit is answered.
const ANSWER: u8 = 11;

/// The half that hears when KVM_RUN returns and how long the answer took. A driver hears of an exit
/// only behind both, when the step is over that it came in: by then the timer of the ticks is gone as
/// well, which alone takes some microseconds, and a signal of it may have come.
struct Watch(Arc<Mutex<Clock>>);

impl Observer for Watch {
    fn exit(&mut self, event: &ExitEvent<'_>) {
        let mut clock = lock(&self.0);
        clock.guest += event.left.saturating_duration_since(event.entered);
        clock.left = event.left;
    }

    fn step(&mut self, step: &Step<'_>) {
        if step.number == ANSWER {
            lock(&self.0).host += step.time;
        }
    }
}

/// Both halves are on one thread; one that has panicked has left nothing half done.
fn lock(clock: &Mutex<Clock>) -> MutexGuard<'_, Clock> {
    clock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes samples of a run.
pub struct Profiler {
    period: Duration,
    rules: Rules,
    code: Vec<Range<u64>>,
    clock: Arc<Mutex<Clock>>,
    /// The thread's own time at the guest's last sample.
    last_used: Duration,
    /// When the guest's next is due.
    due: Instant,
    profile: Profile,
}

impl Profiler {
    /// So many samples a second, of [`RATES`]. `elf` is the image's whole file, for the unwind tables
    /// in it: without them a function that was caught before it made its frame hides who called it, and one
    /// that makes none all who did.
    #[must_use]
    pub fn new(rate: u32, image: &Image<'_>, elf: &[u8]) -> Self {
        let rate = rate.clamp(*RATES.start(), *RATES.end());
        let code = image.segments().iter().filter(|it| it.permissions.execute);
        let now = Instant::now();
        Self {
            period: Duration::from_secs(1) / rate,
            rules: Rules::read(elf, image.bias()),
            code: code.map(|it| it.virtual_range()).collect(),
            clock: Arc::new(Mutex::new(Clock {
                guest: Duration::ZERO,
                host: Duration::ZERO,
                left: now,
            })),
            last_used: Duration::ZERO,
            due: now,
            profile: Profile { entry: image.entry().0, ..Profile::default() },
        }
    }

    /// The VM with what a profiler needs: a tick of its period, and to hear when KVM_RUN returns.
    #[must_use]
    pub fn equip<'b>(&self, builder: Builder<'b>) -> Builder<'b> {
        builder.tick(self.period).observe(Watch(Arc::clone(&self.clock)))
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Profile {
        self.profile
    }

    /// The guest's account begins anew.
    fn start(&mut self) {
        lock(&self.clock).guest = Duration::ZERO;
        self.due = Instant::now() + self.period;
        self.last_used = thread_time();
    }

    fn sample_guest(&mut self, scene: &Scene<'_>) -> Result<(), Error> {
        let used = thread_time().saturating_sub(self.last_used);
        let time = lock(&self.clock).guest.min(used);
        self.sample(scene, false, time)?;
        // The time that this took is nobody's.
        self.start();
        Ok(())
    }

    /// Takes a sample.
    fn sample(&mut self, scene: &Scene<'_>, in_host: bool, time: Duration) -> Result<(), Error> {
        let vm = &*scene.vm;
        let (registers, system) = (vm.registers()?, vm.system_registers()?);
        let frames = Frames { memory: vm.memory(), cr3: system.cr3, code: &self.code };
        let (addresses, origin) = frames.walk(&self.rules, &registers);
        let stack = Stack { addresses: addresses.into(), origin, in_host };
        self.profile.take(stack, time);
        Ok(())
    }

    /// An exit was answered by now.
    fn answered(&mut self, scene: &Scene<'_>) -> Result<(), Error> {
        let mut clock = lock(&self.clock);
        let left = clock.left;
        let due = clock.host >= self.period;
        let host = due.then(|| std::mem::take(&mut clock.host));
        drop(clock);
        if let Some(time) = host {
            self.sample(scene, true, time)?;
        }
        if left >= self.due + self.period * PATIENCE {
            self.sample_guest(scene)?;
        }
        Ok(())
    }
}

/// How long this thread has had a processor (clock_gettime(2): CLOCK_THREAD_CPUTIME_ID), its
/// guest with it.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable for the call's duration.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

impl Driver for Profiler {
    fn begin(&mut self, scene: &mut Scene<'_>) -> Result<(), Error> {
        self.profile.stubs = scene.vm.layout().stubs.clone();
        self.start();
        Ok(())
    }

    fn stopped(&mut self, scene: &mut Scene<'_>, stop: &Stop) -> Result<(), Error> {
        // Other ticks come as well: limits have theirs. A timer may be a little early by this clock.
        let early = self.period / 4;
        match stop {
            Stop::Interrupted if Instant::now() + early >= self.due => self.sample_guest(scene),
            Stop::Exit(exit) if *exit != Exit::Debug => self.answered(scene),
            _ => Ok(()),
        }
    }
}
