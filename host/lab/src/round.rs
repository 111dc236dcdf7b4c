//! Rounds, in a process that is there for nothing else: `portcall lab-round`.

use crate::affinity;
use crate::report::{Absent, Clock};
use crate::rows::{self, Mechanism};
use crate::stopwatch::{Stopwatch, Timed};
use jail::Jail;
use measures::collect::{Collector, Sampled, Watched};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use portcall::stock::Stock;
use portcall::{Builder, Image, Kvm, Ring, Vm};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The largest image that is read.
const IMAGE_MAX: u64 = 1 << 30;

/// Calls by which the cost of a system call is found.
const CALLS: usize = 256;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// A built-in row, by its name.
    Row(String),
    /// A guest of the caller's.
    Image {
        /// Its ELF file.
        path: PathBuf,
        /// Bytes of memory, if not the usual.
        memory: Option<u64>,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// One round, which is one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Samples; a guest of the caller's has its own number.
    pub(crate) samples: u32,
    /// Whether an observer takes times at each exit.
    pub(crate) watched: bool,
}

/// What a process is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The process that waits for it.
    pub(crate) parent: i32,
    pub(crate) subject: Subject,
    /// 0 or 3.
    pub(crate) ring: u8,
    pub(crate) rounds: Vec<Round>,
    /// The processor of the VMs' thread.
    pub(crate) pin: Option<usize>,
}

/// What came of it: of each round, or why there are none.
pub(crate) type Answer = Result<Vec<Result<Taken, Absent>>, Absent>;

/// A round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) pieces: Vec<Piece>,
    /// What the guest could not measure: names, and why.
    pub(crate) absent: Vec<(String, String)>,
    /// How a guest of the caller's ended, where that was no good end.
    pub(crate) end: Option<Absent>,
    /// What the guest said that was too much.
    pub(crate) left_out: u64,
    /// Seconds that the guest ran.
    pub(crate) seconds: f64,
    /// Whether that was in the jail.
    pub(crate) jailed: bool,
}

/// A measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) operations: u32,
    pub(crate) warm_up: u32,
    /// Nanoseconds that the timer took itself, beside each block of samples.
    pub(crate) timers: Vec<f64>,
    /// Nanoseconds an operation, those subtracted.
    pub(crate) samples: Vec<f64>,
    pub(crate) instructions: Option<f64>,
    pub(crate) observed: Option<Observed>,
    /// Samples besides, which were too many to be kept.
    pub(crate) dropped: u64,
    pub(crate) is_complete: bool,
}

/// What an observer's round says of an operation, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Observed {
    pub(crate) exits: f64,
    /// System calls by themselves, where the round ran: in the jail each is looked at first.
    pub(crate) kernel: f64,
    /// Between one KVM_RUN and the next.
    pub(crate) ours: f64,
}

impl Observed {
    fn of(watched: Watched, system_call: f64) -> Self {
        let Watched { exits, ours } = watched;
        Self { exits, kernel: exits * system_call, ours }
    }
}

/// The host's side of guests of the caller's.
pub struct Host<'h> {
    /// What an experiment adds to the VM.
    pub equip: &'h mut dyn for<'a> FnMut(Builder<'a>) -> Builder<'a>,
    /// The jail in which it runs, if it is one.
    pub jail: Option<Jail>,
}

/// Does what the words say, which the laboratory itself wrote, and answers on stdout. Whether the
/// answer was said.
pub fn play(order: &str, host: &mut Host<'_>) -> bool {
    let Ok(mut to) = own_stdout() else { return false };
    let answer = serde_json::from_str(order)
        .map_err(Absent::of_error)
        .and_then(|order: Order| obey(&order, host));
    let Ok(mut line) = serde_json::to_vec::<Answer>(&answer) else { return false };
    line.push(b'\n');
    to.write_all(&line).is_ok()
}

/// Stdout for the answer alone: what a host half prints goes to stderr from here on.
fn own_stdout() -> io::Result<File> {
    let to = io::stdout().as_fd().try_clone_to_owned()?;
    // SAFETY: both are open, and nothing holds what this closes.
    if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(to.into())
}

fn obey(order: &Order, host: &mut Host<'_>) -> Answer {
    // It never outlives who waits for it, not even one that was killed.
    set_pdeathsig(Signal::SIGKILL).map_err(Absent::of_error)?;
    if getppid() != Pid::from_raw(order.parent) {
        return Err(Absent::failed("the laboratory is gone"));
    }
    if let Some(cpu) = order.pin {
        affinity::pin(cpu).map_err(Absent::failed)?;
    }
    let ring = if order.ring == 0 { Ring::Zero } else { Ring::Three };
    match &order.subject {
        Subject::Row(name) => of_row(name, ring, &order.rounds),
        Subject::Image { path, memory, arguments } => {
            let bytes = read(path)?;
            let image = Image::parse(&bytes).map_err(Absent::of_error)?;
            let watched = order.rounds.first().is_some_and(|round| round.watched);
            let kvm = Kvm::open().map_err(Absent::of_error)?;
            let mut builder = Vm::builder(&kvm, &image).ring(ring);
            builder = builder.arguments(arguments.iter().cloned());
            if let Some(memory) = memory {
                builder = builder.memory(*memory);
            }
            Ok(vec![of_image(builder, watched, host)])
        }
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Absent> {
    let cannot = |error: io::Error| Absent::failed(format!("it cannot be read: {error}"));
    let metadata = path.metadata().map_err(cannot)?;
    if !metadata.is_file() || metadata.len() > IMAGE_MAX {
        let why = "it is no regular file of at most 1 GiB, so no guest's ELF file";
        return Err(Absent::failed(why));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(IMAGE_MAX).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// A VM that is about to run. The mechanism goes first: it may have a thread that looks at the VM's
/// memory.
struct Ready {
    name: &'static str,
    mechanism: Box<dyn Mechanism>,
    vm: Vm,
    collector: Collector,
    watch: Stopwatch,
    is_watched: bool,
}

/// All VMs are built before the first one runs: in the jail there can be no more.
fn of_row(name: &str, ring: Ring, rounds: &[Round]) -> Answer {
    let image = Image::parse(crate::GUEST).map_err(Absent::of_error)?;
    let kvm = Kvm::open().map_err(Absent::of_error)?;
    let build = |round: &Round| build(name, ring, *round, &kvm, &image);
    let ready = rounds.iter().map(build).collect::<Result<Vec<_>, _>>()?;
    let jailed = enter(ready.first().and_then(|it| it.mechanism.jail()))?;
    Ok(ready.into_iter().map(|ready| ready.run(jailed)).collect())
}

fn build(
    name: &str,
    ring: Ring,
    round: Round,
    kvm: &Kvm,
    image: &Image<'_>,
) -> Result<Ready, Absent> {
    let missing = || Absent::failed(format!("there is no row {name}"));
    let row = rows::find(name).ok_or_else(missing)?;
    let mut mechanism = row.mechanism();
    let collector = Collector::new();
    let arguments = [name.to_owned(), round.samples.to_string()];
    let builder = Vm::builder(kvm, image).ring(ring).arguments(arguments);
    let mut builder = builder.serve(collector.service());
    if round.watched {
        builder = builder.observe(collector.watcher());
    }
    let built = mechanism.equip(builder).build();
    let mut vm = built.map_err(|error| mechanism.not_built(&error))?;
    collector.opened(&vm);
    let watch = Stopwatch::new(&vm, round.samples, collector.clone());
    mechanism.built(&mut vm)?;
    Ok(Ready { name: row.name, mechanism, vm, collector, watch, is_watched: round.watched })
}

impl Ready {
    fn run(self, jailed: bool) -> Result<Taken, Absent> {
        let Self { name, mut mechanism, mut vm, collector, watch, is_watched } = self;
        let system_call = if is_watched { system_call(&vm) } else { 0.0 };
        let start = Instant::now();
        let timed = mechanism.drive(&mut vm, &watch)?;
        let seconds = start.elapsed().as_secs_f64();
        if let Some((_, why)) = collector.absent().into_iter().next() {
            return Err(Absent::lacking(why));
        }
        let piece = match timed {
            Some(timed) => of_host(name, timed, system_call),
            None => {
                let sampled = collector.sampled().into_iter().next();
                let sampled =
                    sampled.ok_or_else(|| Absent::failed("its guest measured nothing"))?;
                let piece = of_guest(sampled, system_call);
                let is_counted = mechanism.has_instructions();
                Piece { instructions: piece.instructions.filter(|_| is_counted), ..piece }
            }
        };
        mechanism.check(watch.samples())?;
        Ok(Taken { pieces: vec![piece], seconds, jailed, ..Taken::default() })
    }
}

/// Enters the jail, if there is one and the kernel has what it takes; whether it did.
fn enter(jail: Option<Jail>) -> Result<bool, Absent> {
    let jail = jail.filter(|_| jail::support().seccomp);
    jail.as_ref().map(Jail::enter).transpose().map_err(Absent::of_error)?;
    Ok(jail.is_some())
}

/// The most bytes of a line of a guest's that are kept.
const LINE_MAX: usize = 200;

/// The last line that a guest printed, and the one that it has not ended.
#[derive(Clone, Default)]
struct LastLine(Arc<Mutex<[Vec<u8>; 2]>>);

impl Write for LastLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [last, open] = &mut *lines;
        for byte in bytes {
            match byte {
                b'\n' if open.trim_ascii().is_empty() => open.clear(),
                b'\n' => *last = std::mem::take(open),
                byte if open.len() < LINE_MAX => open.push(*byte),
                _ => {}
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LastLine {
    /// An end, with it.
    fn quoted_by(&self, end: Absent) -> Absent {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = lines.iter().rev().map(|line| line.trim_ascii()).find(|line| !line.is_empty());
        let Some(text) = text.map(String::from_utf8_lossy) else { return end };
        Absent { why: format!("{}; it printed last: {text}", end.why), ..end }
    }
}

/// A guest of the caller's. What it prints is dropped but for its last line.
fn of_image(builder: Builder<'_>, is_watched: bool, host: &mut Host<'_>) -> Result<Taken, Absent> {
    let collector = Collector::new();
    let said = LastLine::default();
    let builder = builder.serve(collector.service()).serve(Stock::new()).console(said.clone());
    let watcher = is_watched.then(|| collector.watcher());
    let builder = match watcher {
        Some(watcher) => builder.observe(watcher),
        None => builder,
    };
    let builder = (host.equip)(builder);
    let mut vm = builder.build().map_err(Absent::of_error)?;
    collector.opened(&vm);
    let jailed = enter(host.jail.take())?;
    let system_call = if is_watched { system_call(&vm) } else { 0.0 };
    let start = Instant::now();
    let outcome = vm.run().map_err(Absent::of_error)?;
    let seconds = start.elapsed().as_secs_f64();
    let pieces = collector.sampled().into_iter().map(|it| of_guest(it, system_call)).collect();
    let end = Absent::unless_normal(&outcome.end).err().map(|end| said.quoted_by(end));
    let (absent, left_out) = (collector.absent(), collector.left_out());
    Ok(Taken { pieces, absent, end, left_out, seconds, jailed })
}

fn of_host(name: &str, timed: Timed, system_call: f64) -> Piece {
    Piece {
        name: name.to_owned(),
        clock: Clock::Host,
        operations: 1,
        warm_up: timed.warm_up,
        timers: vec![timed.timer],
        samples: timed.samples,
        instructions: timed.instructions,
        observed: timed.watched.map(|it| Observed::of(it, system_call)),
        dropped: 0,
        is_complete: true,
    }
}

fn of_guest(sampled: Sampled, system_call: f64) -> Piece {
    Piece {
        name: sampled.name,
        clock: Clock::Guest,
        operations: sampled.operations,
        warm_up: sampled.warm_up,
        timers: sampled.timers,
        samples: sampled.samples,
        instructions: sampled.instructions,
        observed: sampled.watched.map(|it| Observed::of(it, system_call)),
        dropped: sampled.dropped,
        is_complete: sampled.is_complete,
    }
}

/// Nanoseconds of a system call by itself, in the jail where there is one: KVM_RUN of what is no
/// vCPU, which KVM refuses at once and the jail lets through. The median.
fn system_call(vm: &Vm) -> f64 {
    /// `_IO(KVMIO, 0x80)` (include/uapi/linux/kvm.h).
    const KVM_RUN: libc::Ioctl = 0xae80;
    // SAFETY: no vCPU is made of it.
    let fd = unsafe { vm.vm_fd() }.as_raw_fd();
    let mut times: Vec<f64> = (0..CALLS)
        .map(|_| {
            let start = Instant::now();
            // SAFETY: a VM has no such request, which has no argument, so nothing is read or written.
            unsafe { libc::ioctl(fd, KVM_RUN, 0) };
            start.elapsed().as_secs_f64() * 1e9
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[CALLS / 2]
}

#[cfg(test)]
mod tests {
    use super::{Answer, LINE_MAX, LastLine, Observed, Order, Piece, Round, Subject, Taken};
    use crate::report::{Absent, Clock};
    use std::io::Write;

    #[test]
    fn an_end_quotes_the_last_line_that_says_something() {
        let quoted = |printed: &[&[u8]]| {
            let mut said = LastLine::default();
            printed.iter().for_each(|it| said.write_all(it).expect("it takes everything"));
            said.quoted_by(Absent::wrong("it died")).why
        };
        assert_eq!(quoted(&[]), "it died");
        assert_eq!(quoted(&[b"\n \r\n"]), "it died");
        assert_eq!(quoted(&[b"one\nt", b"wo\r\n\n"]), "it died; it printed last: two");
        assert_eq!(quoted(&[b"one\ntwo"]), "it died; it printed last: two");
        assert_eq!(quoted(&[b"\xff\n"]), "it died; it printed last: \u{fffd}");
        let long = quoted(&[&[b'a'; 1 << 20][..], b"\n"]);
        assert_eq!(long.len(), "it died; it printed last: ".len() + LINE_MAX);
    }

    /// What one side writes the other reads.
    #[test]
    fn orders_and_answers_are_lines_of_json() {
        let order = Order {
            parent: 7,
            subject: Subject::Image {
                path: "/a/b \"c\".elf".into(),
                memory: Some(1 << 20),
                arguments: vec!["--x".to_owned(), String::new()],
            },
            ring: 3,
            rounds: vec![Round { samples: 9, watched: true }],
            pin: Some(1),
        };
        let text = serde_json::to_string(&order).expect("written");
        assert!(!text.contains('\n'));
        assert_eq!(serde_json::from_str::<Order>(&text).expect("read"), order);

        let piece = Piece {
            name: "a\n\u{0}".to_owned(),
            clock: Clock::Guest,
            operations: 4,
            warm_up: 1,
            timers: vec![1.0],
            samples: vec![0.1 + 0.2, -5.0],
            instructions: None,
            observed: Some(Observed { exits: 1.0, kernel: 2.0, ours: 3.0 }),
            dropped: 0,
            is_complete: true,
        };
        let taken = Taken { pieces: vec![piece], seconds: 0.25, ..Taken::default() };
        let answers: [Answer; 2] =
            [Ok(vec![Ok(taken), Err(Absent::wrong("b"))]), Err(Absent::lacking("c"))];
        for answer in answers {
            let text = serde_json::to_string(&answer).expect("written");
            assert!(!text.contains('\n'));
            assert_eq!(serde_json::from_str::<Answer>(&text).expect("read"), answer);
        }
    }
}
