//! `portcall test`: the tests in a guest's image, on libtest's command line.

use crate::code::{self, Failure};
use crate::image_file::ImageFile;
use crate::{jail, output, run};
use ::jail::Jail;
use inspect::Style as Explained;
use portcall::layout::MEMORY_DEFAULT;
use portcall::{Image, Kvm, Ring};
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use testing::{Choice, Form, Ignored, Machine, MachineError, RunError, Show, Style};

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
    #[arg(long, value_name = "SIZE", value_parser = run::size, default_value_t = MEMORY_DEFAULT, hide_default_value = true)]
    memory: u64,

    /// The ring the guest starts in: 0, or 3 for user mode with ports.
    #[arg(long, value_name = "0|3", value_parser = run::ring, default_value = "0")]
    ring: Ring,

    /// Ends a test that runs longer and says nothing itself (10s, 500ms, 2m).
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    timeout: Duration,

    /// Runs the guest without the jail.
    #[arg(long)]
    no_jail: bool,
}

fn form(text: &str) -> Result<Form, String> {
    match text {
        "pretty" => Ok(Form::Pretty),
        "terse" => Ok(Form::Terse),
        "json" | "junit" => {
            Err(format!("{text} is not stable in libtest; cargo nextest writes JUnit"))
        }
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

    fn machine(&self) -> testing::Options {
        let (memory, ring, timeout) = (self.memory, self.ring, self.timeout);
        testing::Options { memory, ring, timeout, at_once: self.at_once() }
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
        chosen.filtered_out += std::mem::take(&mut chosen.tests).len();
    }
    let threads = options.threads()?.min(chosen.tests.len());
    let mut show = Show::new(Box::new(io::stdout()), options.style(threads < 2));
    if options.list {
        return match show.list(&chosen.tests) {
            Ok(()) => Ok(0),
            Err(error) => Err(Failure::writing("the list to stdout", &error)),
        };
    }
    let kvm = Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;
    let machine = Machine::new(kvm, &image, &bytes, options.machine());
    let machine = machine.map_err(|error| about(&error))?;
    if !options.no_jail {
        jail::enter_for_many(jail, &options.image)?;
    }
    let ready = match machine.set_up() {
        Ok(ready) => ready,
        Err(MachineError::NotReady(it)) => {
            output::say(&String::from_utf8_lossy(&it.printed));
            output::say(&it.explanation.render(Explained { colour: true }));
            let why = "the guest did not come to its tests; what is before them all failed";
            say!("portcall: {why}");
            // Whatever it was, no test has passed.
            return Ok(code::of(&it.end, None).max(1));
        }
        Err(error) => return Err(about(&error)),
    };
    match testing::run(&ready, &chosen, threads, &mut show) {
        Ok(true) => Ok(0),
        Ok(false) => Ok(FAILED),
        Err(RunError::Show(error)) => Err(Failure::writing("the results to stdout", &error)),
        Err(error) => Err(Failure::Message(error.to_string())),
    }
}
