//! Calls a function of the guest from many threads for a while: by default each call is one of a
//! fresh VM, lent by a pool and given back. Says how many calls a second that were, how long they
//! took, and how many failed; it ends by itself, and badly where one did.
//!
//! ```console
//! $ cargo xtask run stress --ring 3 -- --threads 4 --time 5s
//! ```

use calls::stress::Client;
use clap::Parser;
use hdrhistogram::Histogram;
use pool::{Lease, Pool, Size, Wait};
use portcall::{CallError, Kvm, Vm};
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What its arguments stand behind.
const NAME: &str = "cargo xtask run stress [--ring 0|3] --";

/// Calls a function of the guest from many threads, and says what that took.
#[derive(Debug, Parser)]
#[command(name = NAME, bin_name = NAME, disable_version_flag = true)]
struct Options {
    /// From how many threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// How many VMs there are at most; as many as threads, if it is not said
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    vms: Option<u32>,
    /// How long
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// How many pages each call writes to
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1024))]
    pages: u64,
    /// Each thread keeps its VM; else each call is of a fresh one
    #[arg(long, conflicts_with = "vms")]
    kept: bool,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

/// How long a call may take, and the wait for a VM.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a thread may hand to another.
type Failure = Box<dyn Error + Send + Sync>;

/// Nanoseconds, to three digits.
type Times = Histogram<u64>;

/// What one thread, or all of them, came to.
struct Tally {
    times: Times,
    errors: u64,
    /// What the first of them said.
    first: Option<String>,
}

impl Tally {
    fn new() -> Result<Self, Failure> {
        Ok(Self { times: Times::new(3)?, errors: 0, first: None })
    }

    fn add(&mut self, other: Self) -> Result<(), Failure> {
        self.times.add(other.times)?;
        self.errors += other.errors;
        self.first = self.first.take().or(other.first);
        Ok(())
    }
}

/// A call, which has to be the `th` of its VM's.
fn call(vm: &mut Vm, pages: u64, th: u64) -> Result<(), Failure> {
    let was = Client(vm.door().within(PATIENCE)).work(pages).map_err(|error| match error {
        CallError::Ended(end) => end.to_string(),
        other => other.to_string(),
    })?;
    if was == th { Ok(()) } else { Err(format!("call {th} of a VM was its {was}th").into()) }
}

/// One call of a fresh VM, from its being taken to its being back; or of the one that is kept.
fn once(pool: &Pool, options: &Options, kept: &mut Option<(Lease, u64)>) -> Result<(), Failure> {
    if !options.kept {
        let mut vm = pool.take(Wait::AtMost(PATIENCE))?;
        call(&mut vm, options.pages, 1)?;
        return Ok(vm.give_back()?);
    }
    let (mut vm, calls) = match kept.take() {
        Some(it) => it,
        None => (pool.take(Wait::AtMost(PATIENCE))?, 0),
    };
    call(&mut vm, options.pages, calls + 1)?;
    *kept = Some((vm, calls + 1));
    Ok(())
}

/// One thread's calls.
fn thread(pool: &Pool, options: &Options, end: Instant) -> Result<Tally, Failure> {
    let (mut tally, mut kept) = (Tally::new()?, None);
    let mut start = Instant::now();
    while start < end {
        let done = once(pool, options, &mut kept);
        let now = Instant::now();
        match done {
            Ok(()) => {
                let nanoseconds = u64::try_from((now - start).as_nanos()).unwrap_or(u64::MAX);
                tally.times.record(nanoseconds)?;
            }
            Err(error) => {
                tally.errors += 1;
                tally.first.get_or_insert_with(|| error.to_string());
            }
        }
        start = now;
    }
    Ok(tally)
}

/// All threads' calls, and how long that was.
fn all(pool: &Pool, options: &Options) -> Result<(Tally, Duration), Failure> {
    let start = Instant::now();
    let end = start + options.time;
    let mut tally = Tally::new()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..options.threads).map(|_| scope.spawn(|| thread(pool, options, end))).collect();
        threads.into_iter().try_for_each(|thread| {
            tally.add(thread.join().map_err(|_| "a thread of the stress panicked")??)
        })
    })?;
    Ok((tally, start.elapsed()))
}

/// Makes the VM, which waits for its first call, a pool, and has that called.
fn stress(vm: &mut Vm) -> Result<(), Box<dyn Error>> {
    let snapshot = vm.snapshot()?;
    let words = [NAME].into_iter().chain(snapshot.arguments().iter().map(String::as_str));
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(error) if !error.use_stderr() => return Ok(error.print()?),
        Err(error) => {
            let said = error.to_string();
            return Err(said.trim_start_matches("error: ").trim_end().into());
        }
    };
    let most = options.vms.unwrap_or(options.threads) as usize;
    let pool = Pool::new(Kvm::open()?, snapshot, Size { ready: most, most }, |vm| vm)?;
    let (tally, took) = all(&pool, &options).map_err(|error| error as Box<dyn Error>)?;
    say(&options, &report(&options, &pool, &tally, took))?;
    match tally.first {
        Some(first) => Err(format!("{} calls failed, the first: {first}", tally.errors).into()),
        None => Ok(()),
    }
}

/// What it came to, by what it is called.
fn report(options: &Options, pool: &Pool, tally: &Tally, took: Duration) -> serde_json::Value {
    let (counts, calls) = (pool.counts(), tally.times.len());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let us = |quantile| tally.times.value_at_quantile(quantile) as f64 / 1e3;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = calls as f64 / took.as_secs_f64();
    serde_json::json!({
        "threads": options.threads,
        "fresh": !options.kept,
        "pages": options.pages,
        "seconds": took.as_secs_f64(),
        "calls": calls,
        "calls_per_second": rate.round(),
        "p50_us": us(0.5),
        "p99_us": us(0.99),
        "max_us": us(1.0),
        "errors": tally.errors,
        "vms_made": counts.made,
        "vms_dropped": counts.dropped,
        "waits": counts.waited,
    })
}

/// Says it: a line each.
fn say(options: &Options, report: &serde_json::Value) -> std::io::Result<()> {
    let mut out = stdout();
    if options.json {
        return writeln!(out, "{report:#}");
    }
    let lines = [
        ("threads", "threads"),
        ("a fresh VM for each call", "fresh"),
        ("pages that each writes to", "pages"),
        ("calls", "calls"),
        ("calls a second", "calls_per_second"),
        ("p50, us", "p50_us"),
        ("p99, us", "p99_us"),
        ("longest, us", "max_us"),
        ("errors", "errors"),
        ("VMs made", "vms_made"),
        ("VMs dropped", "vms_dropped"),
        ("waits for a VM", "waits"),
    ];
    lines.iter().try_for_each(|(name, key)| {
        let value = &report[*key];
        match value.as_f64().filter(|_| value.is_f64()) {
            Some(value) => writeln!(out, "{name:26}{value:>12.1}"),
            None => writeln!(out, "{name:26}{:>12}", value.to_string()),
        }
    })
}

fn main() -> ExitCode {
    cli::Experiment::new().after(stress).main()
}
