//! `portcall fuzz`: one function of a guest's, over and over, with inputs that are found on the way.

use crate::code::{self, Failure};
use crate::image_file::ImageFile;
use crate::signals::Signals;
use crate::{jail, output, run};
use ::jail::Jail;
use anstyle::AnsiColor;
use inspect::{Style, printable};
use portcall::layout::MEMORY_DEFAULT;
use portcall::{Image, Kvm, Ring};
use snapfuzz::{
    Came, Finding, Inputs, Listener, Machine, MachineError, NotReady, Over, Ready, Session,
    Settings, Status, Store, Summary, Target,
};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where something was found.
const FOUND: u8 = 1;

/// The most bytes of an input: what the mailbox has for them.
const MOST: u64 = portcall::abi::tests::DATA_MAX;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Process codes: 0 where nothing was found, 1 where something was, 125 where portcall itself failed.
Without --time and --runs it goes on until Ctrl-C, which ends it with its summary.")]
pub(crate) struct Options {
    /// The guest: a static x86-64 ELF file with #[guest::fuzz] and guest::tests!() in it.
    image: PathBuf,

    /// The function, where there are several.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,

    /// Names the functions that there are, and runs none; needs no KVM.
    #[arg(long)]
    list: bool,

    /// Runs this input alone, and says what comes of it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["corpus", "crashes", "seeds", "time", "runs", "seed"])]
    input: Option<PathBuf>,

    /// Keeps inputs that reach something new, from run to run [default: target/snapfuzz/IMAGE/NAME/corpus].
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,

    /// Where findings are written [default: target/snapfuzz/IMAGE/NAME/crashes].
    #[arg(long, value_name = "DIR")]
    crashes: Option<PathBuf>,

    /// Inputs to begin with, which stay as they are. May be repeated.
    #[arg(long, value_name = "DIR")]
    seeds: Vec<PathBuf>,

    /// Ends after so long (10s, 2m).
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,

    /// Ends after so many executions.
    #[arg(long, value_name = "N")]
    runs: Option<u64>,

    /// What mutations come of: the same number, with the same inputs, gives the same executions
    /// [default: another each time, which is said].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// How long one input may take that the function says nothing of itself.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1s")]
    timeout: Duration,

    /// The most bytes of an input, up to 65408.
    #[arg(long, value_name = "N", default_value = "4096", value_parser = clap::value_parser!(u64).range(..=MOST))]
    max_len: u64,

    /// The guest's memory, from 1MiB to 63GiB; only what it touches costs.
    #[arg(long, value_name = "SIZE", value_parser = run::size, default_value_t = MEMORY_DEFAULT, hide_default_value = true)]
    memory: u64,

    /// The ring the guest starts in. What needs ring 0 faults in ring 3, which is faster wherever
    /// ring 0 is emulated.
    #[arg(long, value_name = "0|3", value_parser = run::ring, default_value = "3")]
    ring: Ring,

    /// Runs the guest without the jail.
    #[arg(long)]
    no_jail: bool,
}

impl Options {
    /// Where a run keeps something that is not said otherwise.
    fn place(&self, said: Option<&PathBuf>, target: &Target, what: &str) -> PathBuf {
        let image = self.image.file_name().unwrap_or_default();
        // As a directory's name: `a::b` is no trouble, and nothing else of a path's is in it.
        let name = target.name.replace('/', "_");
        let place = || Path::new("target/snapfuzz").join(image).join(name).join(what);
        said.cloned().unwrap_or_else(place)
    }

    /// The command that runs a finding again.
    fn again(&self, input: &Path) -> String {
        let mut words: Vec<OsString> = std::env::args_os().take(1).collect();
        words.extend(["fuzz".into(), self.image.clone().into()]);
        if let Some(target) = &self.target {
            words.extend(["--target".into(), target.into()]);
        }
        if self.ring == Ring::Zero {
            words.extend(["--ring".into(), "0".into()]);
        }
        if self.memory != MEMORY_DEFAULT {
            words.extend(["--memory".into(), self.memory.to_string().into()]);
        }
        if self.timeout != Duration::from_secs(1) {
            let timeout = humantime::format_duration(self.timeout).to_string();
            words.extend(["--timeout".into(), timeout.replace(' ', "").into()]);
        }
        words.extend(["--input".into(), input.into()]);
        let words: Vec<String> = words.iter().map(|it| printable(&it.to_string_lossy())).collect();
        words.join(" ")
    }

    fn settings(&self) -> Settings {
        let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos().into();
        let (runs, time) = (self.runs, self.time);
        let max_len = usize::try_from(self.max_len).unwrap_or(usize::MAX);
        Settings { seed: self.seed.unwrap_or_else(now), runs, time, max_len }
    }
}

pub(crate) fn fuzz(options: &Options, jail: Jail) -> Result<u8, Failure> {
    let name = options.image.display();
    let about = |error: &dyn std::fmt::Display| Failure::Message(format!("{name}: {error}"));
    let mut file = ImageFile::open(&options.image)?;
    if file.is_snapshot() {
        return Err(about(&"it is a snapshot; give the ELF file, of which one is made anyway"));
    }
    let bytes = file.whole()?;
    let image = Image::parse(&bytes).map_err(|error| about(&error))?;
    if options.list {
        let all = snapfuzz::targets(&image).map_err(|error| about(&error))?;
        let names: String = all.into_iter().map(|it| it.name + "\n").collect();
        let written = output::stdout().and_then(|mut it| it.write_all(names.as_bytes()));
        written.map_err(|error| Failure::writing("the names to stdout", &error))?;
        // As grep does: for scripts that ask whether there is any.
        return Ok(u8::from(names.is_empty()));
    }
    let target = snapfuzz::target(&image, options.target.as_deref());
    let target = target.map_err(|error| about(&error))?;
    // All that is read is read before the jail.
    let task = match &options.input {
        Some(path) => Task::One(input(path)?),
        None => Task::Many(Many::open(options, &target)?),
    };
    let kvm = Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;
    let (memory, ring, timeout) = (options.memory, options.ring, options.timeout);
    let machine = snapfuzz::Options { memory, ring, timeout };
    let machine = Machine::new(kvm, &image, &bytes, target.clone(), machine);
    let machine = machine.map_err(|error| about(&error))?;
    if !options.no_jail {
        let places = match &task {
            Task::One(_) => Vec::new(),
            Task::Many(many) => vec![many.corpus.clone(), many.crashes.clone()],
        };
        let jail = places.into_iter().fold(jail, Jail::write_beneath);
        jail::enter_for_many(jail, &options.image)?;
    }
    let ready = match machine.set_up() {
        Ok(ready) => ready,
        Err(MachineError::NotReady(it)) => return Ok(say_not_ready(&it, ring)),
        Err(error) => return Err(Failure::Message(error.to_string())),
    };
    match task {
        Task::One(input) => one(ready, &input),
        Task::Many(many) => many.fuzz(ready, options, &target),
    }
}

/// What is to be done.
enum Task {
    One(Vec<u8>),
    Many(Many),
}

/// A run of the fuzzer, ready to begin.
struct Many {
    store: Store,
    corpus: PathBuf,
    crashes: PathBuf,
    inputs: Vec<Vec<u8>>,
}

impl Many {
    fn open(options: &Options, target: &Target) -> Result<Self, Failure> {
        let failed = |error: snapfuzz::StoreError| Failure::Message(error.to_string());
        let corpus = options.place(options.corpus.as_ref(), target, "corpus");
        let crashes = options.place(options.crashes.as_ref(), target, "crashes");
        let store = Store::open(&corpus, &crashes).map_err(failed)?;
        let mut inputs = Inputs::default();
        let most = usize::try_from(options.max_len).unwrap_or(usize::MAX);
        for directory in options.seeds.iter().chain([&corpus]) {
            inputs.read(directory, most).map_err(failed)?;
        }
        // Of many the first say enough.
        for why in inputs.left_out.iter().take(8) {
            say!("portcall: {why}");
        }
        if inputs.left_out.len() > 8 {
            say!("portcall: ... and {} more", inputs.left_out.len() - 8);
        }
        Ok(Self { store, corpus, crashes, inputs: inputs.inputs })
    }

    fn fuzz(self, ready: Ready<'_>, options: &Options, target: &Target) -> Result<u8, Failure> {
        let settings = options.settings();
        let session = Session::new(ready)?;
        let signals = Signals::stop_all(&session.stoppers())?;
        let ring = if options.ring == Ring::Zero { 0 } else { 3 };
        say!(
            "portcall: fuzzing {} in ring {ring}, with seed {} and {} inputs; Ctrl-C ends it",
            target.name,
            settings.seed,
            self.inputs.len()
        );
        let mut speaker = Speaker { store: &self.store, options, is_full: false };
        let summary = session.fuzz(self.inputs, &settings, &mut speaker);
        signals.over(&portcall::End::Stopped);
        let summary = summary.map_err(|error| Failure::Message(error.to_string()))?;
        Ok(conclude(&summary, &self.crashes))
    }
}

/// Says what happens, and writes down what is to be kept.
struct Speaker<'s> {
    store: &'s Store,
    options: &'s Options,
    /// Whether something could not be written, which is said once.
    is_full: bool,
}

impl Speaker<'_> {
    fn cannot(&mut self, what: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.is_full, true) {
            say!("portcall: cannot write {what}: {error}; it goes on without");
        }
    }
}

impl Listener for Speaker<'_> {
    fn kept(&mut self, input: &[u8]) {
        if let Err(error) = self.store.keep(input) {
            self.cannot("an input of the corpus", &error);
        }
    }

    fn found(&mut self, finding: &Finding) {
        let style = AnsiColor::Red.on_default().bold();
        say!("{style}found{style:#}: {}", size(finding));
        output::say(&finding.explanation.render(Style { colour: true }));
        let mut text = finding.explanation.render(Style::default());
        if let Some(differs) = &finding.differs {
            let why = format!("note: not the same again without breakpoints: {differs}\n");
            output::say(&why);
            text += &why;
        }
        if !finding.printed.is_empty() {
            text += &format!("printed:\n{}\n", String::from_utf8_lossy(&finding.printed));
        }
        match self.store.found(finding, &text) {
            Ok(path) => say!("  once more: {}", self.options.again(&path)),
            Err(error) => {
                let bytes: String =
                    finding.input.iter().take(256).map(|it| format!("{it:02x}")).collect();
                say!("  its input, in hexadecimal: {bytes}");
                self.cannot("what was found", &error);
            }
        }
    }

    fn status(&mut self, status: &Status) {
        say!("  {}", line(status));
    }
}

/// What a finding's input is.
fn size(finding: &Finding) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let now = finding.input.len();
    match (now, finding.found) {
        (0, 0) => "the empty input".to_owned(),
        (0, found) => format!("the empty input, made of {found} byte{}", plural(found)),
        (now, found) if now == found => format!("an input of {now} byte{}", plural(now)),
        (now, found) => format!("an input of {now} byte{}, made of {found}", plural(now)),
    }
}

fn line(status: &Status) -> String {
    let Status { executions, elapsed, rate, reached, blocks, kept, findings, ended } = status;
    format!(
        "{:.1} s: {executions} executions, {rate:.0}/s; {reached} of {blocks} blocks, {kept} inputs \
         kept; {ended} ended the guest, {findings} in different ways",
        elapsed.as_secs_f64()
    )
}

/// The last lines, and the process code.
fn conclude(summary: &Summary, crashes: &Path) -> u8 {
    if summary.over == Over::AllEnd {
        say!(
            "portcall: each of the first inputs ends the guest, the empty one among them, so that \
             there is nothing to mutate; mend that first"
        );
    }
    let found = summary.findings.len();
    let (colour, code) = if found == 0 { (AnsiColor::Green, 0) } else { (AnsiColor::Red, FOUND) };
    let style = colour.on_default().bold();
    say!("{style}portcall{style:#}: {}", line(&summary.status));
    if found > 0 {
        say!("  findings are in {}", crashes.display());
    }
    code
}

/// An input's file.
fn input(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::Message(format!("cannot read the input {}: {why}", path.display()))
    };
    let mut input = Vec::new();
    let file = File::open(path).map_err(|error| failed(&error))?;
    file.take(MOST + 1).read_to_end(&mut input).map_err(|error| failed(&error))?;
    if input.len() as u64 > MOST {
        return Err(failed(&format!("it has more than {MOST} bytes, and the mailbox has no more")));
    }
    Ok(input)
}

/// Runs one input, and says what came of it.
fn one(mut ready: Ready<'_>, input: &[u8]) -> Result<u8, Failure> {
    let failed = |error: MachineError| Failure::Message(error.to_string());
    let signals = Signals::stop(&ready.stopper())?;
    let came = ready.run(input).map_err(failed)?;
    let signal = signals.over(&portcall::End::Stopped);
    let printed = ready.printed();
    let written = output::stdout().and_then(|mut it| it.write_all(&printed));
    written.map_err(|error| Failure::writing("what it printed to stdout", &error))?;
    match came {
        Came::Back => {
            say!("portcall: the function returned; nothing is wrong with this input");
            Ok(0)
        }
        Came::Stopped => Ok(code::of(&portcall::End::Stopped, signal)),
        Came::Ended(_) => {
            if let Some((_, explanation)) = ready.explanation()? {
                output::say(&explanation.render(Style { colour: true }));
            }
            Ok(FOUND)
        }
    }
}

/// What is before all inputs failed.
fn say_not_ready(it: &NotReady, ring: Ring) -> u8 {
    output::say(&String::from_utf8_lossy(&it.printed));
    output::say(&it.explanation.render(Style { colour: true }));
    say!("portcall: the guest did not come to where it waits for inputs");
    if ring == Ring::Three {
        say!("  note: it runs in ring 3 here; what needs ring 0 takes --ring 0");
    }
    code::of(&it.end, None).max(FOUND)
}
