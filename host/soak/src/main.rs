//! Many VMs made, run and dropped in one process from several threads, of guests that behave and
//! of guests that do not: some come to their ends, some are stopped, some reach a limit, some are
//! dropped half-way. Whatever they did, each end has a name, the same one in every run; the host's
//! memory around the guest's is as it was; and the process has no more file descriptors, threads,
//! mappings and memory than before.
//!
//! `cargo xtask test --soak` runs it with all guests there are.

mod canary;
mod fate;
mod random;
mod resources;
mod stops;
mod work;

use clap::Parser;
use portcall::{End, Image, Kvm};
use resources::Resources;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use work::{Guest, Tally};

/// Runs many VMs, and looks at what they leave behind.
#[derive(Debug, Parser)]
struct Options {
    /// How many VMs there are to be.
    #[arg(long, default_value_t = 10_000)]
    vms: u64,

    /// How many more are stopped at a random moment, each from another thread.
    #[arg(long, default_value_t = 100_000)]
    stops: u64,

    /// From how many threads.
    #[arg(long, default_value_t = 4)]
    threads: u64,

    /// Where the random numbers begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The guests: ELF files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

/// How many VMs are run before the process is looked at for the first time: allocators and
/// libraries keep what they need again.
const WARM_UP: u64 = 200;

/// VMs that may wait to be closed, where that is done beside others.
const PENDING: usize = 4;

/// A KVM for VMs that are closed on a thread, which ends with it.
fn many() -> Result<Kvm, String> {
    Kvm::open().and_then(|kvm| kvm.for_many(PENDING)).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let options = Options::parse();
    match soak(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("soak: {why} (--seed {})", options.seed);
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options) -> Result<(), String> {
    let kvm = Kvm::open().map_err(|error| error.to_string())?;
    let files = options.images.iter().map(|path| {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).display().to_string();
        Ok((name, bytes))
    });
    let files = files.collect::<Result<Vec<_>, String>>()?;
    let guests = files.iter().map(|(name, bytes)| {
        let image = Image::parse(bytes).map_err(|error| format!("{name}: {error}"))?;
        Ok(Guest { name: name.clone(), image })
    });
    let guests = guests.collect::<Result<Vec<_>, String>>()?;

    let warm_up = |seed| {
        work::run(&kvm, &guests, WARM_UP, options.threads, seed)?;
        stops::run(&kvm, WARM_UP, options.threads, seed)?;
        stops::run(&many()?, WARM_UP, options.threads, seed)
    };
    warm_up(options.seed)?;
    let before = Resources::now()?;
    let tally = work::run(&kvm, &guests, options.vms, options.threads, options.seed + 1)?;
    // The one thread closes one VM at a time, so a part of them will do: 140 a second.
    let closed_beside = options.stops / 50;
    stops::run(&many()?, closed_beside, options.threads, options.seed + 1)?;
    stops::run(&kvm, options.stops - closed_beside, options.threads, options.seed + 2)?;
    let after = Resources::now()?;

    show(&tally);
    println!("{} VMs were stopped at random moments", options.stops);
    println!("before: {before}\nafter:  {after}");
    tally.agreed()?;
    after.no_more_than(&before)
}

/// Which ends there were.
fn show(tally: &Tally) {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for ((_, _, end), count) in tally.ends() {
        *ends.entry(end).or_default() += count;
    }
    let never = End::NAMES.into_iter().filter(|name| !ends.contains_key(name));
    println!("{} VMs, {} of them dropped before an end", tally.vms(), tally.dropped());
    for (end, count) in &ends {
        println!("{count:8} {end}");
    }
    println!("         never: {}", never.collect::<Vec<_>>().join(", "));
}
