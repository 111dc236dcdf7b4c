//! `portcall lab`: what each way out of a guest costs here.

use crate::code::{self, Failure};
use crate::experiment::Experiment;
use crate::output;
use crate::places::{self, Fresh, Place};
use crate::run::{ring, size};
use crate::signals::{self, STOP_SIGNALS};
use crate::sink::Sink;
use inspect::printable;
use lab::compare::Comparison;
use lab::report::{Absence, Absent, Finding, Report, Row};
use lab::round::{Host, Subject};
use lab::run::Plan;
use lab::{rows, show};
use portcall::Ring;
use signal_hook::consts::SIGHUP;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Its process code where a row failed, or a guest of the caller's came to no good end.
const BAD: u8 = 1;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A row without figures says why: it is no failure that a KVM lacks something, wedges on it, or is known \
to get it wrong. Process codes: 0; 1 where an IMAGE came to no good end, or a measurement of its to no \
figures, or a built-in row failed or is wrong; 125 for a wrong command line; 130 and 143 where a signal \
ended it, with what was measured by then.")]
pub(crate) struct Options {
    /// Guests that measure by `guest::measure`: rows beside the built-in ones
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// Only built-in rows whose names contain it; may be repeated
    #[arg(long, value_name = "WORD")]
    row: Vec<String>,

    /// Without the built-in rows
    #[arg(long, requires = "images", conflicts_with = "row")]
    alone: bool,

    /// Only in this ring; in both if not said
    #[arg(long, value_name = "0|3", value_parser = ring)]
    ring: Option<Ring>,

    /// Few samples, in at most 10 seconds: rows that a busy machine leaves no time for are not reached
    #[arg(long)]
    quick: bool,

    /// Runs vCPUs on this processor, and threads beside them on the others
    #[arg(long, value_name = "CPU")]
    pin: Option<usize>,

    /// Says which rows there are, and measures nothing
    #[arg(long)]
    list: bool,

    /// Writes all that was found: csv (the samples), json (for --compare), html (a page with plots);
    /// FILE "-" is stdout, and all else goes to stderr then. May be repeated
    #[arg(long, value_name = "KIND[=FILE]")]
    emit: Vec<Emit>,

    /// Measures nothing, and sets two runs side by side that were written by --emit json
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["images", "row", "quick", "pin", "ring", "list"])]
    compare: Vec<PathBuf>,

    /// The memory of each IMAGE, from 1MiB to 63GiB [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "images")]
    memory: Option<u64>,

    /// How long a round of an IMAGE may take
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10s")]
    timeout: Duration,

    /// Arguments of each IMAGE, after --
    #[arg(last = true, requires = "images")]
    args: Vec<String>,
}

/// What a process with rounds is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    order: String,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Csv,
    Json,
    Html,
}

/// One `--emit`; `None` is stdout.
#[derive(Clone, Debug)]
struct Emit(Kind, Option<PathBuf>);

impl FromStr for Emit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, words) = places::split(text);
        let kind = match kind {
            "csv" => Kind::Csv,
            "json" => Kind::Json,
            "html" => Kind::Html,
            _ => return Err(format!("{kind} cannot be emitted; there are csv, json and html")),
        };
        Ok(Self(kind, places::file(words)?))
    }
}

/// An `--emit` that is open.
struct Output {
    kind: Kind,
    to: Sink,
    /// Of a plain file, which is replaced: a full disk does not lose what stood there.
    plain: Option<PathBuf>,
}

impl Emit {
    /// Opens it: before anything is measured, so that a wrong path costs no minutes. What opens can be
    /// written in the end, since a directory that takes no new file has the older one written over.
    fn open(&self) -> Result<Output, Failure> {
        let Self(kind, path) = self;
        let name = path.as_deref().map_or("stdout".into(), Path::to_string_lossy);
        let to = Sink::open(printable(&name), path.as_deref())?;
        let is_plain = |_: &PathBuf| to.file.as_ref().and_then(places::id_of).is_some();
        Ok(Output { kind: *kind, plain: path.clone().filter(is_plain), to })
    }
}

impl Output {
    fn goes(&self) -> Place<'_> {
        let file = self.to.file.as_ref();
        Place { name: self.to.name.clone(), is_stdout: file.is_none(), file, replaces: None }
    }

    /// Writes it in place of what stands there.
    fn write(self, text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        match self.plain {
            Some(path) => lab::store::replace(&path, text)
                .map_err(|error| Failure::writing(&self.to.name, &error)),
            None => self.to.write(text),
        }
    }

    fn write_report(self, report: &Report) -> Result<(), Failure> {
        let kind = self.kind;
        self.write(|to| match kind {
            Kind::Csv => lab::csv::write(report, to),
            Kind::Json => {
                serde_json::to_writer(&mut *to, report)?;
                to.write_all(b"\n")
            }
            Kind::Html => to.write_all(lab::page::report(report).as_bytes()),
        })
    }
}

/// Opens all; two to one place would leave a mixture, and one over what is read nothing to read.
fn open(emits: &[Emit], inputs: &[PathBuf]) -> Result<(Vec<Output>, Fresh), Failure> {
    let is_input = |path: &&PathBuf| inputs.iter().any(|input| places::is_same(path, input));
    if let Some(path) = emits.iter().filter_map(|it| it.1.as_ref()).find(is_input) {
        let name = printable(&path.to_string_lossy());
        return Err(Failure::Message(format!("{name} is what is to be read; name another file")));
    }
    let mut fresh = Fresh::default();
    let open = |emit: &Emit| fresh.noting(emit.1.as_deref(), || emit.open());
    let outputs: Vec<Output> = emits.iter().map(open).collect::<Result<_, _>>()?;
    let places: Vec<Place<'_>> = outputs.iter().map(Output::goes).collect();
    places::all_different(&places, "the table")?;
    Ok((outputs, fresh))
}

/// One process with rounds.
pub(crate) fn round(order: &Order, mut experiment: Experiment) -> Result<u8, Failure> {
    let jail = experiment.take_jail();
    let mut host = Host { equip: &mut |builder| experiment.configure(builder), jail };
    let said = lab::round::play(&order.order, &mut host);
    Ok(if said { 0 } else { code::OURS })
}

/// Measures, and says what was found.
pub(crate) fn lab(options: &Options) -> Result<u8, Failure> {
    if !options.compare.is_empty() {
        let is_page = |it: &&Emit| matches!(it.0, Kind::Html);
        if !options.emit.iter().all(|it| is_page(&it)) {
            let message = "--compare measures nothing: only html is emitted with it";
            return Err(Failure::Message(message.to_owned()));
        }
        // Where it is refused, what was opened for it is no file.
        let (outputs, _fresh) = open(&options.emit, &options.compare)?;
        return compare(&options.compare, outputs);
    }
    let rows = chosen(options)?;
    if options.list {
        let line = |name: &String| {
            let what = rows::find(name).map_or("", |row| row.what);
            format!("{name:16} {what}\n")
        };
        let text: String = rows.iter().map(line).collect();
        output::stdout()
            .and_then(|mut stdout| stdout.write_all(text.as_bytes()))
            .map_err(|error| Failure::writing("stdout", &error))?;
        return Ok(0);
    }
    if lab::GUEST.is_empty() && !rows.is_empty() {
        let remedy = "run it by `cargo xtask lab`, or say --alone and an IMAGE";
        let message = format!("this build has no guest for the built-in rows; {remedy}");
        return Err(Failure::Message(message));
    }
    // Without KVM there is nothing to measure, and each row would say so.
    portcall::Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;
    let (outputs, _fresh) = open(&options.emit, &options.images)?;
    let plan = plan(options, rows);
    let (stop, signal) = stop_by_signal()?;
    let report = lab::run::run(&plan, &stop).map_err(Failure::Message)?;

    // One that fails is no reason to leave out the others.
    let is_taken = has_stdout(&outputs);
    let mut written: Vec<_> =
        outputs.into_iter().map(|output| output.write_report(&report)).collect();
    written.push(show(is_taken, |width| show::table(&report, width)));
    written.into_iter().collect::<Result<(), _>>()?;
    Ok(match signal.load(Ordering::Relaxed) {
        0 if report.rows.iter().any(is_bad) => BAD,
        0 => 0,
        signal => code::SIGNAL + u8::try_from(signal).unwrap_or_default(),
    })
}

/// Whether one of them goes to stdout.
fn has_stdout(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| output.to.file.is_none())
}

/// Prints a table as wide as there is room for: to stdout, or where that has something else to
/// stderr.
fn show(is_taken: bool, table: impl FnOnce(usize) -> String) -> Result<(), Failure> {
    let text = table(width(is_taken));
    if is_taken {
        output::say(&text);
        return Ok(());
    }
    output::stdout()
        .and_then(|mut stdout| stdout.write_all(text.as_bytes()))
        .map_err(|error| Failure::writing("stdout", &error))
}

/// Sets two runs side by side.
fn compare(files: &[PathBuf], outputs: Vec<Output>) -> Result<u8, Failure> {
    let load = |path: &PathBuf| {
        Report::load(path).map_err(|error| Failure::Message(printable(&error.to_string())))
    };
    let [a, b] = files else { return Err(Failure::Message("give two files".to_owned())) };
    let (a, b) = (load(a)?, load(b)?);
    let comparison = Comparison::of(&a, &b);
    let page = lab::page::comparison(&comparison);
    let is_taken = has_stdout(&outputs);
    let write = |output: Output| output.write(|to| to.write_all(page.as_bytes()));
    outputs.into_iter().try_for_each(write)?;
    show(is_taken, |width| comparison.table(width))?;
    Ok(0)
}

/// The names of the built-in rows that are wanted.
fn chosen(options: &Options) -> Result<Vec<String>, Failure> {
    if options.alone {
        return Ok(Vec::new());
    }
    let names = rows::ALL.iter().map(|row| row.name.to_owned());
    let is_chosen =
        |name: &String| options.row.is_empty() || options.row.iter().any(|it| name.contains(it));
    let rows: Vec<String> = names.filter(is_chosen).collect();
    match options.row.iter().find(|word| !rows.iter().any(|name| name.contains(*word))) {
        Some(word) => {
            let word = printable(word);
            let message = format!("no row has {word} in its name; --list tells which there are");
            Err(Failure::Message(message))
        }
        None => Ok(rows),
    }
}

fn plan(options: &Options, rows: Vec<String>) -> Plan {
    let own = options.images.iter().map(|path| Subject::Image {
        path: path.clone(),
        memory: options.memory,
        arguments: options.args.clone(),
    });
    Plan {
        subjects: rows.into_iter().map(Subject::Row).chain(own).collect(),
        rings: match options.ring {
            Some(Ring::Zero) => vec![0],
            Some(Ring::Three) => vec![3],
            None => vec![0, 3],
        },
        quick: options.quick,
        pin: options.pin,
        timeout: options.timeout,
    }
}

/// Whether it is no finding, but something to be mended.
fn is_bad(row: &Row) -> bool {
    match &row.finding {
        Finding::Absent(absent) if row.image.is_some() => absent.kind != Absence::Lacking,
        Finding::Absent(absent) => is_failure(row, absent),
        Finding::Measured(measured) if !measured.has_figures() => true,
        Finding::Measured(measured) => measured.late.as_ref().is_some_and(|it| is_failure(row, it)),
        Finding::NotReached => false,
    }
}

/// Of a built-in row: that the laboratory failed, or got something wrong that this KVM is not known
/// to get wrong.
fn is_failure(row: &Row, absent: &Absent) -> bool {
    match absent.kind {
        Absence::Failed => true,
        Absence::Wrong => !rows::is_known_wrong(&row.name, row.ring),
        Absence::Lacking | Absence::Wedged | Absence::Meaningless | Absence::NotReached => false,
    }
}

/// Within which a second signal is the first one again: `timeout` sends it to its child and to the
/// group.
const AGAIN: Duration = Duration::from_millis(500);

/// A flag that SIGINT, SIGTERM and SIGHUP set, and which of them it was. The second one ends the
/// process, and with it the one with rounds.
fn stop_by_signal() -> Result<(Arc<AtomicBool>, Arc<AtomicI32>), Failure> {
    let (stop, came) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(0)));
    let (start, first) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    // What nohup has ignored stays so.
    let is_heard = |it: &i32| *it != SIGHUP || !signals::is_ignored(SIGHUP);
    for signal in STOP_SIGNALS.into_iter().filter(is_heard) {
        let (flag, number, since) = (Arc::clone(&stop), Arc::clone(&came), Arc::clone(&first));
        let set = move || {
            let now = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            if !flag.swap(true, Ordering::Relaxed) {
                since.store(now, Ordering::Relaxed);
            } else if u128::from(now - since.load(Ordering::Relaxed).min(now)) >= AGAIN.as_millis()
            {
                // It does not come back.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            number.store(signal, Ordering::Relaxed);
        };
        // SAFETY: atomic accesses, clock_gettime and `emulate_default_handler`, which may be called in a handler.
        let done = unsafe { signal_hook::low_level::register(signal, set) };
        done.map_err(|error| Failure::Message(format!("cannot handle signal {signal}: {error}")))?;
    }
    // A parent may have blocked them.
    STOP_SIGNALS.into_iter().for_each(portcall::stop::unblock);
    Ok((stop, came))
}

/// The columns of the terminal that the table goes to; 0 where there is none.
fn width(to_stderr: bool) -> usize {
    let fd = if to_stderr { libc::STDERR_FILENO } else { libc::STDOUT_FILENO };
    // SAFETY: all-zero bytes are a valid winsize.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: `size` is writable for the call's duration.
    let done = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    if done == 0 { size.ws_col.into() } else { 0 }
}
