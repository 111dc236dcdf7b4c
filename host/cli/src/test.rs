//! `portcall test`: the tests in a guest's image, on libtest's command line.

use crate::code::{self, Failure};
use crate::emit::without_instruments;
#[cfg(feature = "instruments")]
use crate::emit::{Settings, coverage::OfTests};
use crate::image_file::ImageFile;
use crate::{jail, output, run};
use ::jail::Jail;
use inspect::Style as Explained;
use portcall::{Image, Kvm, Ring};
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
#[cfg(feature = "instruments")]
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use testing::{
    By, Choice, Chosen, Form, Ignored, Machine, MachineError, NotReady, RunError, Show, Style,
};

/// As libtest ends where a test failed.
const FAILED: u8 = 101;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
As cargo's runner, in .cargo/config.toml:
  [target.x86_64-unknown-none]
  runner = [\"portcall\", \"test\"]
RUST_TEST_THREADS is read as --test-threads, RUST_TEST_NOCAPTURE as --no-capture.")]
pub(crate) struct Options {
    /// The guest: a static x86-64 ELF file with `guest::tests!()` in it.
    image: PathBuf,

    /// Only tests with one of these in their names.
    filters: Vec<String>,

    /// Names are whole ones.
    #[arg(long)]
    exact: bool,

    /// Leaves out tests with this in their names. May be repeated.
    #[arg(long, value_name = "FILTER")]
    skip: Vec<String>,

    /// Runs only those that are ignored.
    #[arg(long)]
    ignored: bool,

    /// Runs those that are ignored as well.
    #[arg(long, conflicts_with = "ignored")]
    include_ignored: bool,

    /// Names the tests and runs none; needs no KVM.
    #[arg(long)]
    list: bool,

    /// For benchmarks, of which there are none.
    #[arg(long, conflicts_with = "test")]
    bench: bool,

    /// For tests, which is all there is.
    #[arg(long)]
    test: bool,

    /// How much is said: a line a test, or a character.
    #[arg(long, value_name = "pretty|terse", value_parser = form)]
    format: Option<Form>,

    /// A character a test: --format terse.
    #[arg(long, short, conflicts_with = "format")]
    quiet: bool,

    /// Shows what tests print as it comes, in place of what those print that fail.
    #[arg(long, alias = "nocapture")]
    no_capture: bool,

    /// Shows what those print that pass as well.
    #[arg(long)]
    show_output: bool,

    /// How many VMs run at a time [default: as many as there are processors].
    #[arg(long, value_name = "N")]
    test_threads: Option<NonZeroUsize>,

    /// When there are colours.
    #[arg(long, value_name = "auto|always|never", default_value = "auto", value_parser = ["auto", "always", "never"])]
    color: String,

    /// The guest's memory, from 1MiB to 63GiB; only what it touches costs.
    #[arg(long, value_name = "SIZE", value_parser = run::size, default_value = "64MiB")]
    memory: u64,

    /// The ring the guest starts in: 0, or 3 for user mode with ports.
    #[arg(long, value_name = "0|3", value_parser = run::ring, default_value = "0")]
    ring: Ring,

    /// Ends a test that runs longer and says nothing itself (10s, 500ms, 2m).
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    timeout: Duration,

    /// Writes which lines of source the tests reach, all together: coverage=FILE.info or FILE.html. They
    /// run one after the other then.
    #[arg(long, value_name = "coverage=FILE", value_parser = emit)]
    emit: Option<PathBuf>,

    /// Whose lines --emit coverage tells of: sources beneath PATH, or all. May be repeated
    /// [default: the current directory].
    #[arg(long, value_name = "PATH|all")]
    coverage_of: Vec<PathBuf>,

    /// Runs the guest without the jail.
    #[arg(long)]
    no_jail: bool,
}

fn emit(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("coverage=") {
        None | Some("") => Err("of tests there is coverage=FILE alone".to_owned()),
        Some(_) if cfg!(not(feature = "instruments")) => Err(without_instruments("coverage")),
        Some(file) => Ok(file.into()),
    }
}

fn form(text: &str) -> Result<Form, String> {
    match text {
        "pretty" => Ok(Form::Pretty),
        "terse" => Ok(Form::Terse),
        "json" | "junit" => Err(format!(
            "there are pretty and terse; {text} is not stable in libtest, and cargo-nextest writes JUnit"
        )),
        _ => Err("there are pretty and terse".to_owned()),
    }
}

/// A variable that libtest reads; 0 is as if it were not there.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|it| it != "0")
}

impl Options {
    fn choice(&self) -> Choice {
        let ignored = match (self.ignored, self.include_ignored) {
            (true, _) => Ignored::Only,
            (_, true) => Ignored::Included,
            _ => Ignored::Named,
        };
        let (filters, skip) = (self.filters.clone(), self.skip.clone());
        Choice { filters, skip, exact: self.exact, ignored }
    }

    fn threads(&self) -> Result<usize, Failure> {
        let asked = || -> Result<Option<usize>, Failure> {
            let Some(text) = std::env::var_os("RUST_TEST_THREADS") else { return Ok(None) };
            let number = text.to_str().and_then(|it| it.parse().ok()).filter(|it| *it > 0);
            number.map(Some).ok_or_else(|| {
                let why = "RUST_TEST_THREADS is a number of at least 1, or not there";
                Failure::Message(why.to_owned())
            })
        };
        match self.test_threads {
            Some(number) => Ok(number.get()),
            None => {
                Ok(asked()?
                    .unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into)))
            }
        }
    }

    fn style(&self, one_by_one: bool) -> Style {
        let form = self.format.unwrap_or(if self.quiet { Form::Terse } else { Form::Pretty });
        let colour = match self.color.as_str() {
            "always" => true,
            "never" => false,
            _ => io::stdout().is_terminal(),
        };
        let at_once = self.at_once();
        Style { form, colour, one_by_one, at_once, successes: self.show_output && !at_once }
    }

    fn at_once(&self) -> bool {
        self.no_capture || is_set("RUST_TEST_NOCAPTURE")
    }

    #[cfg(feature = "instruments")]
    fn coverage(&self, file: &Path, elf: &[u8]) -> Result<OfTests, Failure> {
        let all = self.coverage_of.iter().any(|it| it.as_os_str() == "all");
        let coverage_of = (!all).then(|| self.coverage_of.clone());
        let guest = self.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        OfTests::open(file, guest, &Settings { profile_rate: 1, coverage_of }, elf)
    }

    fn machine(&self, vms: usize) -> testing::Options {
        let (memory, ring, timeout) = (self.memory, self.ring, self.timeout);
        testing::Options { memory, ring, vms, timeout, at_once: self.at_once() }
    }
}

pub(crate) fn test(options: &Options, jail: Jail) -> Result<u8, Failure> {
    let name = options.image.display();
    let about = |error: &dyn std::fmt::Display| Failure::Message(format!("{name}: {error}"));
    let mut file = ImageFile::open(&options.image)?;
    if file.is_snapshot() {
        return Err(about(
            &"it is a snapshot; give the ELF file, whose tests start from one anyway",
        ));
    }
    let bytes = file.whole()?;
    let image = Image::parse(&bytes).map_err(|error| about(&error))?;
    let tests = testing::list(&image).map_err(|error| about(&error))?;
    let mut chosen = options.choice().of(tests);
    if options.bench {
        // As libtest has it.
        chosen.tests.iter_mut().for_each(|it| _ = it.ignored.get_or_insert_default());
    }
    let threads = options.threads()?.min(chosen.tests.len());
    let threads = if options.emit.is_some() { 1 } else { threads };
    let mut show = Show::new(Box::new(io::stdout()), options.style(threads < 2));
    if options.list {
        return match show.list(&chosen.tests) {
            Ok(()) => Ok(0),
            Err(error) => Err(Failure::writing("the list to stdout", &error)),
        };
    }
    let kvm = Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;
    let machine = Machine::new(kvm, &image, &bytes, options.machine(threads));
    let machine = machine.map_err(|error| about(&error))?;
    #[cfg_attr(not(feature = "instruments"), expect(unused_mut, reason = "they set it"))]
    let mut by = By::Threads(threads);
    #[cfg(feature = "instruments")]
    let mut coverage =
        options.emit.as_ref().map(|file| options.coverage(file, &bytes)).transpose()?;
    #[cfg(feature = "instruments")]
    if let Some(coverage) = &mut coverage {
        by = By::Driver(&mut coverage.collector);
    }
    if !options.no_jail {
        jail::enter_for_many(jail, &options.image)?;
    }
    let code = run_all(machine, &chosen, by, &mut show)?;
    #[cfg(feature = "instruments")]
    coverage.map_or(Ok(()), OfTests::save)?;
    Ok(code)
}

/// From the VM that has not run yet to the process code.
fn run_all(
    machine: Machine<'_>,
    chosen: &Chosen,
    mut by: By<'_>,
    show: &mut Show,
) -> Result<u8, Failure> {
    let driver = match &mut by {
        By::Driver(driver) => Some(&mut **driver),
        By::Threads(_) => None,
    };
    let ready = match machine.set_up(driver) {
        Ok(ready) => ready,
        Err(MachineError::NotReady(it)) => return Ok(say_not_ready(&it)),
        Err(error) => return Err(Failure::Message(error.to_string())),
    };
    match testing::run(&ready, chosen, by, show) {
        Ok(true) => Ok(0),
        Ok(false) => Ok(FAILED),
        Err(RunError::Show(error)) => Err(Failure::writing("the results to stdout", &error)),
        Err(error) => Err(Failure::Message(error.to_string())),
    }
}

/// What is before all tests failed: none has passed.
fn say_not_ready(it: &NotReady) -> u8 {
    output::say(&String::from_utf8_lossy(&it.printed));
    output::say(&it.explanation.render(Explained { colour: true }));
    say!("portcall: the guest did not come to its tests; what is before them all failed");
    code::of(&it.end, None).max(1)
}
