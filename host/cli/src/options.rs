//! The options that running and replaying have in common, and what they ask for together.

use crate::code::Failure;
use crate::emit::{Emit, Settings};
use crate::expect::{Expectation, Seen};
use crate::gdb::Gdb;
use crate::limit;
use portcall::Limit;
use std::path::PathBuf;
use std::time::Duration;

/// Samples a second, where nothing else is said.
const PROFILE_RATE: u32 = 1000;

/// The options of both.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Common {
    /// Ends a guest that runs longer (10s, 500ms, 2m); a handler of the host's that is at work by
    /// then answers first.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// Ends a guest that goes beyond: exits=1000, console=1MiB (bytes of text), calls=10, time=2s
    /// (as --timeout). May be repeated; the least of each counts. A guest that a host half calls has
    /// all of it for each call.
    #[arg(long, value_name = "KEY=N", value_parser = limit::parse)]
    limit: Vec<Limit>,

    /// Checks something at the end: rax=42, exit=0, end=halted, mem.u64[SYMBOL]=42,
    /// output=FILE, exits.port[0xe9]<=4, exits.out=1; also with != <= >= < >. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) expect: Vec<Expectation>,

    /// Writes what the run came to: json (FILE "-" is stdout, as is none), core (for gdb),
    /// log (all that the guest got from the host, for `portcall replay`), snapshot (the guest as it
    /// is when it says that it is ready, for `portcall run FILE`), trace (every exit, call and span with
    /// its times: .json for ui.perfetto.dev, .txt, .jsonl).
    #[cfg_attr(
        feature = "instruments",
        doc = "Also profile=FILE.svg|.folded (where it spent its time), coverage=FILE.info|.html (which lines it reached) and report=FILE.html (the run as a page)."
    )]
    /// May be repeated.
    #[arg(long, value_name = "KIND[=FILE]")]
    pub(crate) emit: Vec<Emit>,

    /// Samples a second for --emit profile and --emit report, from 1 to 10000
    /// [default: 1000].
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    profile_rate: Option<u32>,

    /// Whose lines --emit coverage tells of: sources beneath PATH, or all. May be repeated
    /// [default: the current directory].
    #[arg(long, value_name = "PATH|all")]
    coverage_of: Vec<PathBuf>,

    /// Shows the twelve steps as they happen, with their ioctls.
    #[arg(long)]
    pub(crate) steps: bool,

    /// Shows where exits and time went.
    #[arg(long)]
    pub(crate) stats: bool,

    /// Shows where the guest was also where it ended well.
    #[arg(long)]
    pub(crate) backtrace: bool,

    /// Waits for gdb, with the guest held at its entry: at a free port of the loopback interface, or
    /// at PORT, ADDRESS:PORT or unix:PATH. Time in which gdb has the guest held does not count for
    /// --timeout.
    #[arg(long, value_name = "PLACE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) gdb: Option<Gdb>,

    /// Says nothing about a run that went well.
    #[arg(long)]
    pub(crate) quiet: bool,

    /// Runs the guest without the jail (seccomp, Landlock, no_new_privs), with all that this
    /// process may do: to find out whether a failure is the jail's.
    #[arg(long)]
    no_jail: bool,
}

impl Common {
    /// One limit of each kind, the least that was said.
    pub(crate) fn limits(&self) -> impl Iterator<Item = Limit> {
        let timeout = self.timeout.map(Limit::Time);
        limit::least(timeout.into_iter().chain(self.limit.iter().copied()))
    }

    /// Whether anyone asks for what an observer has to count.
    pub(crate) fn counts(&self) -> bool {
        self.stats
            || self.emit.iter().any(Emit::counts)
            || self.expect.iter().any(Expectation::counts)
    }

    /// Whether the image is wanted with its symbols, or to be put into a log.
    pub(crate) fn wants_whole_image(&self) -> bool {
        self.emit.iter().any(Emit::wants_image) || self.expect.iter().any(Expectation::symbols)
    }

    /// Whether something goes along with the run as a driver.
    pub(crate) fn drives(&self) -> bool {
        self.emit.iter().any(Emit::drives)
    }

    /// Refuses an option that would say nothing.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let has = |kinds: &[&str]| self.emit.iter().any(|it| kinds.contains(&it.kind_name()));
        let idle = [
            ("--profile-rate", self.profile_rate.is_some(), &["profile", "report"][..]),
            ("--coverage-of", !self.coverage_of.is_empty(), &["coverage"]),
        ];
        match idle.into_iter().find(|(_, given, kinds)| *given && !has(kinds)) {
            Some((option, _, kinds)) => Err(Failure::Message(format!(
                "{option} is for --emit {}, which is not asked for",
                kinds.join(" and --emit ")
            ))),
            None => Ok(()),
        }
    }

    /// What outputs want to know besides.
    pub(crate) fn settings(&self) -> Settings {
        let all = self.coverage_of.iter().any(|it| it.as_os_str() == "all");
        Settings {
            profile_rate: self.profile_rate.unwrap_or(PROFILE_RATE),
            coverage_of: (!all).then(|| self.coverage_of.clone()),
        }
    }

    /// Whether little is to be said.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether the process is to be confined while the guest runs.
    pub(crate) const fn wants_jail(&self) -> bool {
        !self.no_jail
    }

    /// Whether a debugger is waited for.
    pub(crate) const fn is_debugged(&self) -> bool {
        self.gdb.is_some()
    }

    /// Whether a log is asked for.
    pub(crate) fn records(&self) -> bool {
        self.emit.iter().any(Emit::records)
    }

    /// Whether a snapshot is asked for.
    pub(crate) fn keeps(&self) -> bool {
        self.emit.iter().any(Emit::keeps)
    }

    /// What the run was bounded by and looked at with, as names and values for people.
    #[cfg(feature = "instruments")]
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let limits: Vec<_> = self.limits().map(limit::name).collect();
        let mut looked = vec!["an observer".to_owned()];
        let drives = self.emit.iter().filter(|it| it.drives());
        looked.extend(drives.map(|it| format!("--emit {}", it.kind_name())));
        looked.extend(self.gdb.as_ref().map(|_| "gdb".to_owned()));
        vec![
            ("limits", if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }),
            ("looked at", format!("by {}: a run without is faster", looked.join(", "))),
        ]
    }

    /// What was expected and is not so, and what was found instead.
    pub(crate) fn unmet(&self, seen: &Seen<'_>) -> Vec<(String, String)> {
        let unmet = |it: &Expectation| Some((it.to_string(), it.unmet(seen)?));
        self.expect.iter().filter_map(unmet).collect()
    }
}
