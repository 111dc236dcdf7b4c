//! `portcall run`: from the command line to a VM, and from its outcome to a process code.

use crate::allow::{self, Allow};
use crate::code::{self, Failure};
use crate::count::{Counter, Counts};
use crate::emit::{self, Emit};
use crate::expect::{Expectation, OutputWatch, Seen};
use crate::experiment::Experiment;
use crate::image_file::ImageFile;
use crate::output::{self, Plain};
use crate::report;
use crate::steps::Steps;
use inspect::{Explanation, KvmKind};
use portcall::sys::KvmStats;
use portcall::{Builder, End, Error, Image, Kvm, Limit, Outcome, Ring, Stopper, Vm};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Text of a guest that makes no exit appears at least this often.
const TICK: Duration = Duration::from_millis(100);

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

    /// Gives the guest a stock interface, in place of Host alone: Host, HostAddress (where its
    /// memory lies in this process), or none. May be repeated.
    #[arg(long, value_name = "INTERFACE", default_value = "Host", hide_possible_values = true)]
    allow: Vec<Allow>,

    /// Checks something at the end: rax=42, exit=0, end=halted, mem.u64[SYMBOL]=42,
    /// output=FILE, exits.port[0xe9]<=4, exits.out=1; also with != <= >= < >. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    expect: Vec<Expectation>,

    /// Writes what the run came to: json (FILE "-" is stdout, as is none), core (for gdb).
    /// May be repeated.
    #[arg(long, value_name = "KIND[=FILE]")]
    emit: Vec<Emit>,

    /// Shows the twelve steps as they happen, with their ioctls.
    #[arg(long)]
    steps: bool,

    /// Shows where exits and time went.
    #[arg(long)]
    stats: bool,

    /// Shows where the guest was also where it ended well.
    #[arg(long)]
    backtrace: bool,

    /// Says nothing about a run that went well.
    #[arg(long)]
    quiet: bool,

    /// Arguments for the guest, after --.
    #[arg(last = true)]
    args: Vec<String>,
}

impl Options {
    /// What is wrong with the image, with its name.
    fn about_image(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Message(format!("{}: {error}", self.image.display()))
    }

    /// Why there is no VM.
    fn about_build(&self, error: Error) -> Failure {
        match error {
            Error::Memory(error) => self.about_image(&error),
            error => error.into(),
        }
    }

    /// Whether anyone asks for what an observer has to count.
    fn counts(&self) -> bool {
        self.stats || !self.emit.is_empty() || self.expect.iter().any(Expectation::counts)
    }

    /// What was expected and is not so, and what was found instead.
    fn unmet(&self, seen: &Seen<'_>) -> Vec<(String, String)> {
        let unmet = |it: &Expectation| Some((it.to_string(), it.unmet(seen)?));
        self.expect.iter().filter_map(unmet).collect()
    }
}

fn ring(text: &str) -> Result<Ring, String> {
    match text {
        "0" => Ok(Ring::Zero),
        "3" => Ok(Ring::Three),
        _ => Err("there are 0 and 3".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    // K, M and G are binary, as they are wherever memory is meant.
    parse_size::Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("{error} (16MiB, 4GiB, 2097152)"))
}

pub(crate) fn run(options: &Options, mut experiment: Experiment) -> Result<u8, Failure> {
    let start = Instant::now();
    let mut file = ImageFile::open(&options.image)?;
    let symbols = options.expect.iter().any(Expectation::symbols);
    let bytes = if symbols { file.whole()? } else { file.loaded()? };
    let image = Image::parse(&bytes).map_err(|error| options.about_image(&error))?;
    let outputs: Vec<_> =
        options.emit.iter().map(|emit| emit.open(&file)).collect::<Result<_, _>>()?;
    emit::all_different(&outputs)?;
    let kvm = Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;

    // Read before the run, so that a wrong path costs no run.
    let watch = OutputWatch::of(&options.expect).map_err(Failure::Message)?;
    let counter = options.counts().then(Counter::default);
    let builder = machine(options, &kvm, &image, watch.clone(), counter.clone())?;
    let mut vm = experiment.configure(builder).build().map_err(|it| options.about_build(it))?;
    let signal = stop_on_signals(&vm.stopper())?;
    // Opened before the run: an old kernel has none, and that is no failure of the run.
    let kvm_stats = counter.as_ref().and_then(|_| KvmStats::open(vm.vcpu_fd()).ok());

    let mut outcome = vm.run()?;
    if code::of(&outcome.end, None) == 0 {
        outcome = experiment.check(&mut vm, outcome)?;
    }

    let time = start.elapsed();
    // One that came when the guest had ended by itself has stopped nothing.
    let signal = signal.swap(OVER, Ordering::Relaxed);
    let signal = (outcome.end == End::Stopped).then_some(signal);
    let code = code::of(&outcome.end, signal);
    let counts = counter.map(|counter| counter.counts()).unwrap_or_default();
    let seen = Seen {
        outcome: &outcome,
        code,
        counts: &counts,
        image: &image,
        vm: &vm,
        output: watch.as_ref(),
    };
    let unmet = options.unmet(&seen);
    let code = if unmet.is_empty() { code } else { code::EXPECTATION };
    let instructions = kvm_stats.and_then(|stats| stats.get("insn_emulation"));
    let explanation = if !outcome.end.is_normal() || options.backtrace {
        Some(inspect::explain(&vm, &image, &outcome, &file.whole()?, KvmKind::detect())?)
    } else {
        None
    };

    let ended = Ended {
        vm: &vm,
        outcome: &outcome,
        code,
        signal,
        counts,
        instructions,
        unmet,
        explanation,
    };
    if options.stats {
        report::stats(&ended, options.ring);
    }
    if !options.quiet || code != 0 {
        report::end(&ended, time);
    }
    // One that fails is no reason to leave out those behind it.
    let written: Vec<_> = outputs.into_iter().map(|output| output.write(&ended)).collect();
    written.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(code)
}

/// The VM that the options ask for, in the making.
fn machine<'a>(
    options: &Options,
    kvm: &'a Kvm,
    image: &'a Image<'_>,
    watch: Option<OutputWatch>,
    counter: Option<Counter>,
) -> Result<Builder<'a>, Failure> {
    let mut builder = Vm::builder(kvm, image)
        .memory(options.memory)
        .ring(options.ring)
        .arguments(options.args.iter().cloned())
        .console(Tee { stdout: Plain::of(io::stdout().as_fd())?, watch })
        .input(Plain::of(io::stdin().as_fd())?)
        .tick(TICK);
    if let Some(timeout) = options.timeout {
        output::set_deadline(timeout);
        builder = builder.limit(Limit::Time(timeout));
    }
    if options.steps {
        builder = builder.observe(Steps);
    }
    if let Some(counter) = counter {
        builder = builder.observe(counter);
    }
    Ok(allow::serve(&options.allow, builder))
}

/// A run that is over, and all that was found out about it.
pub(crate) struct Ended<'a> {
    pub(crate) vm: &'a Vm,
    pub(crate) outcome: &'a Outcome,
    /// The process code.
    pub(crate) code: u8,
    /// The signal that stopped the guest, if one did.
    pub(crate) signal: Option<i32>,
    pub(crate) counts: Counts,
    /// How many instructions KVM emulated, where it counts them.
    pub(crate) instructions: Option<u64>,
    /// What was expected, and what was found instead.
    pub(crate) unmet: Vec<(String, String)>,
    pub(crate) explanation: Option<Explanation>,
}

/// SIGINT, SIGTERM and SIGHUP end the run as stopped; the result holds which it was. A second
/// one, or one after the run, does what it does to any process.
fn stop_on_signals(stopper: &Stopper) -> Result<Arc<AtomicI32>, Failure> {
    let came = Arc::new(AtomicI32::new(0));
    for signal in STOP_SIGNALS {
        let (came, stopper) = (Arc::clone(&came), stopper.clone());
        let stop = move || {
            if came.swap(signal, Ordering::Relaxed) != 0 {
                // It does not come back, but for signals that there are none of here.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            output::interrupt();
            stopper.stop();
        };
        // SAFETY: atomic accesses, `Stopper::stop` and `emulate_default_handler`, all of which
        // may be called in a handler.
        let done = unsafe { signal_hook::low_level::register(signal, stop) };
        done.map_err(|error| Failure::Message(format!("cannot handle signal {signal}: {error}")))?;
    }
    // A parent may have blocked them.
    STOP_SIGNALS.into_iter().for_each(portcall::stop::unblock);
    Ok(came)
}

const STOP_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// What `came` holds after the run: the next signal is no stop any more.
const OVER: i32 = -1;

/// Stdout, and what an expectation looks at on the way.
struct Tee {
    stdout: Plain,
    watch: Option<OutputWatch>,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stdout.write(bytes)?;
        if let Some(watch) = &self.watch {
            watch.take(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
