//! `portcall run`: from the command line to a VM, and from its outcome to a process code.

use crate::code::{self, Failure};
use crate::count::Counter;
use crate::emit::{self, Emit};
use crate::expect::{Expectation, Seen};
use crate::report;
use crate::steps::Steps;
use portcall::sys::KvmStats;
use portcall::{Capture, Image, Kvm, Limit, Ring, Stopper, Vm, elf};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Text of a guest that makes no exit appears at least this often.
const TICK: Duration = Duration::from_millis(100);

/// The largest image that is read. None is near it; a wrong file may be.
const IMAGE_MAX: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The guest: a static x86-64 ELF file.
    image: PathBuf,

    /// The guest's memory, from 1MiB to 63GiB; only what it touches costs.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size)]
    memory: u64,

    /// The ring the guest starts in: 0, or 3 for user mode with ports.
    #[arg(long, value_name = "0|3", default_value = "0", value_parser = ring)]
    ring: Ring,

    /// Ends a guest that runs longer (10s, 500ms, 2m).
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// Checks something at the end: rax=42, exit=0, end=halted, mem.u64[SYMBOL]=42,
    /// output=FILE, exits.port[0xe9]<=4, exits.out=1; also with != <= >= < >. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    expect: Vec<Expectation>,

    /// Writes what the run came to: json. FILE "-" is stdout, as is none. May be repeated.
    #[arg(long, value_name = "KIND[=FILE]")]
    emit: Vec<Emit>,

    /// Shows the twelve steps as they happen, with their ioctls.
    #[arg(long)]
    steps: bool,

    /// Shows where exits and time went.
    #[arg(long)]
    stats: bool,

    /// Says nothing about a run that went well.
    #[arg(long)]
    quiet: bool,

    /// Arguments for the guest, after --.
    #[arg(last = true)]
    args: Vec<String>,
}

fn ring(text: &str) -> Result<Ring, String> {
    match text {
        "0" => Ok(Ring::Zero),
        "3" => Ok(Ring::Three),
        _ => Err("there are 0 and 3".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_size::parse_size(text).map_err(|error| format!("{error} (16MiB, 4GiB, 2097152)"))
}

pub(crate) fn run(options: &Options) -> Result<u8, Failure> {
    let start = Instant::now();
    let symbols = options.expect.iter().any(Expectation::symbols);
    let bytes = read_image(&options.image, symbols)?;
    let named = |error: &dyn std::fmt::Display| {
        Failure::Message(format!("{}: {error}", options.image.display()))
    };
    let image = Image::parse(&bytes).map_err(|error| named(&error))?;
    let outputs: Vec<_> = options.emit.iter().map(Emit::open).collect::<Result<_, _>>()?;
    let kvm = Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;

    let capture = options.expect.iter().any(Expectation::output).then(Capture::new);
    let counter = Counter::default();
    let mut builder = Vm::builder(&kvm, &image)
        .memory(options.memory)
        .ring(options.ring)
        .arguments(options.args.iter().cloned())
        .console(Tee { stdout: plain(io::stdout().as_fd())?, capture: capture.clone() })
        .input(plain(io::stdin().as_fd())?)
        .tick(TICK);
    if let Some(timeout) = options.timeout {
        builder = builder.limit(Limit::Time(timeout));
    }
    if options.steps {
        builder = builder.observe(Steps);
    }
    let counts =
        options.stats || !options.emit.is_empty() || options.expect.iter().any(Expectation::counts);
    if counts {
        builder = builder.observe(counter.clone());
    }
    let mut vm = builder.build().map_err(|error| match error {
        portcall::Error::Memory(error) => named(&error),
        error => error.into(),
    })?;
    let signal = stop_on_signals(&vm.stopper())?;
    // Opened before the run: an old kernel has none, and that is no failure of the run.
    let kvm_stats = counts.then(|| KvmStats::open(vm.vcpu_fd()).ok()).flatten();

    let outcome = vm.run()?;

    let signal = Some(signal.load(Ordering::Relaxed)).filter(|signal| *signal != 0);
    let code = code::of(&outcome.end, signal);
    let (counts, output) = (counter.counts(), capture.map(|c| c.bytes()).unwrap_or_default());
    let seen =
        Seen { outcome: &outcome, code, counts: &counts, image: &image, vm: &vm, output: &output };
    let unmet: Vec<(String, String)> = options
        .expect
        .iter()
        .filter_map(|wanted| Some((wanted.to_string(), wanted.unmet(&seen)?)))
        .collect();
    let code = if unmet.is_empty() { code } else { code::EXPECTATION };
    let instructions =
        kvm_stats.and_then(|stats| stats.get("insn_emulation")).filter(|count| *count > 0);
    if options.stats {
        report::stats(&outcome, &counts, instructions);
    }
    if !options.quiet || code != 0 {
        report::end(&outcome, code, &unmet, start.elapsed());
    }
    for output in outputs {
        output.write(&emit::json(&outcome, code, &counts, instructions, &unmet))?;
    }
    Ok(code)
}

/// Reads an image: what is loaded of it, or all of it where symbols are wanted.
fn read_image(path: &Path, symbols: bool) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let failed = |error: io::Error| Failure::Message(format!("cannot read {name}: {error}"));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        let message =
            format!("{name} is a directory; give the ELF file that the guest was linked to");
        return Err(Failure::Message(message));
    }
    if !metadata.is_file() || metadata.len() > IMAGE_MAX {
        let message = format!("{name} is no regular file of at most 1 GiB, so no guest's ELF file");
        return Err(Failure::Message(message));
    }
    let mut bytes = Vec::with_capacity(elf::HEAD);
    (&file).take(elf::HEAD as u64).read_to_end(&mut bytes).map_err(failed)?;
    let wanted = elf::extent(&bytes).filter(|_| !symbols).unwrap_or(IMAGE_MAX);
    let rest = wanted.min(metadata.len()).saturating_sub(bytes.len() as u64);
    bytes.reserve_exact(usize::try_from(rest).unwrap_or(0));
    file.take(rest).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The same open file without the buffering and the retrying of std's handles: a VM's signal
/// can interrupt it.
fn plain(fd: std::os::fd::BorrowedFd<'_>) -> Result<File, Failure> {
    fd.try_clone_to_owned()
        .map(File::from)
        .map_err(|error| Failure::Message(format!("cannot use stdin and stdout: {error}")))
}

/// SIGINT and SIGTERM end the run as stopped; the result holds which it was.
fn stop_on_signals(stopper: &Stopper) -> Result<Arc<AtomicI32>, Failure> {
    let came = Arc::new(AtomicI32::new(0));
    for signal in [SIGINT, SIGTERM] {
        let (came, stopper) = (Arc::clone(&came), stopper.clone());
        let stop = move || {
            came.store(signal, Ordering::Relaxed);
            stopper.stop();
        };
        // SAFETY: an atomic store and `Stopper::stop`, which may be called in a handler.
        let done = unsafe { signal_hook::low_level::register(signal, stop) };
        done.map_err(|error| Failure::Message(format!("cannot handle signal {signal}: {error}")))?;
    }
    Ok(came)
}

/// Stdout, and a copy in memory where an expectation needs one.
struct Tee {
    stdout: File,
    capture: Option<Capture>,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stdout.write(bytes)?;
        if let Some(capture) = &mut self.capture {
            capture.write_all(&bytes[..written])?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
