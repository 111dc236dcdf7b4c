//! `--emit KIND[=FILE]`: what a run came to, for other programs.
//!
//! Each kind is a file here, and a line in [`KINDS`]. What stands in this one holds for all, and
//! which of them go together; where they may go is in places.rs.

mod core;
#[cfg(feature = "instruments")]
pub(crate) mod coverage;
mod json;
mod log;
#[cfg(feature = "instruments")]
mod profile;
#[cfg(feature = "instruments")]
mod report;
mod snapshot;
mod trace;

use crate::code::Failure;
use crate::heard::Heard;
use crate::places::{self, Fresh, is_same};
use crate::session::Ended;
use inspect::drive::Driver;
use portcall::{Builder, Vm};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// All that can be emitted.
const KINDS: &[Kind] = &[
    json::KIND,
    core::KIND,
    log::KIND,
    snapshot::KIND,
    trace::KIND,
    #[cfg(feature = "instruments")]
    profile::KIND,
    #[cfg(feature = "instruments")]
    coverage::KIND,
    #[cfg(feature = "instruments")]
    report::KIND,
];

/// Those that are built in only with the feature `instruments`, for what they stand on takes long
/// to compile. Each has its line in [`KINDS`] as well, behind that feature.
const INSTRUMENTS: [&str; 3] = ["profile", "coverage", "report"];

/// Something that can be emitted.
struct Kind {
    name: &'static str,
    /// Why it is not written to stdout, if it is not.
    not_stdout: Option<&'static str>,
    /// Why there is only one of it, if there is.
    once: Option<&'static str>,
    wants: Wants,
    /// Opens it, before the run, so that a wrong path costs none.
    open: fn(Place) -> Result<Box<dyn Output>, Failure>,
}

/// What a kind wants of a run.
#[derive(Clone, Copy)]
struct Wants {
    /// Exits counted.
    counts: bool,
    /// The image's whole file before the run, to be kept.
    image: bool,
    /// The image's whole file after the run, for its symbols.
    symbols: bool,
    /// All answers recorded.
    records: bool,
    /// The guest as it is when it is ready.
    keeps: bool,
    /// To go along with the run, as a driver.
    drives: bool,
    /// To hear of the guest's spans.
    spans: bool,
}

impl Wants {
    const NOTHING: Self = Self {
        counts: false,
        image: false,
        symbols: false,
        records: false,
        keeps: false,
        drives: false,
        spans: false,
    };
}

/// One that is open: what it does while a guest runs, and afterwards.
pub(crate) trait Output {
    /// The file that it is written to, if that is open already.
    fn file(&self) -> Option<&File> {
        None
    }

    /// What keeps the guest's text for it.
    fn heard(&self) -> Option<&Heard> {
        None
    }

    /// The path at which it is put in place of what is there.
    fn replaces(&self) -> Option<&Path> {
        None
    }

    /// What it wants of the VM. `image` is the whole file, where a kind wants that.
    fn equip<'b>(&mut self, builder: Builder<'b>, image: &[u8]) -> Result<Builder<'b>, Failure> {
        let _ = image;
        Ok(builder)
    }

    /// What goes along with the run, as a driver.
    fn driver(&mut self) -> Option<&mut dyn Driver> {
        None
    }

    /// The guest says that it is ready. What goes wrong is said at the end: the run goes on.
    fn keep(&mut self, vm: &mut Vm, image: &[u8]) {
        let _ = (vm, image);
    }

    /// The directory in which files have to be put in place of others.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// The run is over.
    fn write(self: Box<Self>, ended: &Ended<'_>) -> Result<(), Failure>;

    /// The host failed while the guest ran: what there is may show where.
    fn fail(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }

    /// The guest has ended, but something failed behind that, and there is nothing to say of it.
    fn abandon(self: Box<Self>) -> Result<(), Failure> {
        self.fail()
    }
}

/// Where an output goes.
struct Place {
    /// What people call it.
    name: String,
    /// `None` for stdout.
    path: Option<PathBuf>,
    /// What the file is called that the run is made of.
    guest: String,
    #[cfg_attr(
        not(feature = "instruments"),
        expect(dead_code, reason = "the instruments read it")
    )]
    settings: Settings,
}

/// What the options say besides.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "instruments"), expect(dead_code, reason = "the instruments read it"))]
pub(crate) struct Settings {
    /// Samples a second.
    pub(crate) profile_rate: u32,
    /// Where the sources lie whose lines are wanted; `None` for all.
    pub(crate) coverage_of: Option<Vec<PathBuf>>,
}

/// One `--emit`.
#[derive(Clone, Debug)]
pub(crate) struct Emit {
    /// Which of [`KINDS`].
    kind: usize,
    /// `None` for stdout.
    file: Option<PathBuf>,
}

impl FromStr for Emit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, words) = places::split(text);
        let Some(kind) = KINDS.iter().position(|kind| kind.name == name) else {
            return Err(unknown(name));
        };
        match (places::file(words)?, KINDS[kind].not_stdout) {
            (None, Some(why)) => Err(why.to_owned()),
            (file, _) => Ok(Self { kind, file }),
        }
    }
}

/// Why that is no kind.
fn unknown(name: &str) -> String {
    if INSTRUMENTS.contains(&name) && cfg!(not(feature = "instruments")) {
        return without_instruments(name);
    }
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    let (last, others) = names.split_last().unwrap_or((&"nothing", &[]));
    format!("{name} cannot be emitted; there are {} and {last}", others.join(", "))
}

/// What to say where something is asked for that was left out of this build.
pub(crate) fn without_instruments(what: &str) -> String {
    format!(
        "this portcall was built without {what}; build it with `--features instruments`, as \
         `cargo xtask run` does when it is asked for"
    )
}

impl Emit {
    fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }

    /// What its kind is called.
    pub(crate) fn kind_name(&self) -> &'static str {
        self.kind().name
    }

    /// What people call the place that it goes to.
    fn name(&self) -> String {
        let shown = |path: &PathBuf| path.display().to_string();
        self.file.as_ref().map_or_else(|| "stdout".to_owned(), shown)
    }

    /// Whether it wants exits counted.
    pub(crate) fn counts(&self) -> bool {
        self.kind().wants.counts
    }

    /// Whether it wants the image's whole file before the run.
    pub(crate) fn wants_image(&self) -> bool {
        self.kind().wants.image
    }

    /// Whether it wants the image's symbols after the run.
    pub(crate) fn wants_symbols(&self) -> bool {
        self.kind().wants.symbols
    }

    /// Whether it is a log.
    pub(crate) fn records(&self) -> bool {
        self.kind().wants.records
    }

    /// Whether it wants to hear of the guest's spans.
    pub(crate) fn wants_spans(&self) -> bool {
        self.kind().wants.spans
    }

    /// Whether it is a snapshot.
    pub(crate) fn keeps(&self) -> bool {
        self.kind().wants.keeps
    }

    /// Whether it goes along with the run, as a driver.
    pub(crate) fn drives(&self) -> bool {
        self.kind().wants.drives
    }

    /// Where it goes, now that it is open.
    fn goes<'o>(&self, output: &'o dyn Output) -> places::Place<'o> {
        let (file, replaces) = (output.file(), output.replaces());
        places::Place { name: self.name(), is_stdout: self.file.is_none(), file, replaces }
    }

    /// Opens it; `input` is the file that the run is made of.
    fn open(&self, input: &Path, settings: &Settings) -> Result<Box<dyn Output>, Failure> {
        let name = self.name();
        if self.file.as_ref().is_some_and(|path| is_same(path, input)) {
            let why = format!("{name} is what is to be run; name another file");
            return Err(Failure::Message(why));
        }
        let guest = input.file_name().unwrap_or(input.as_os_str());
        let guest = guest.to_string_lossy().into_owned();
        let (path, settings) = (self.file.clone(), settings.clone());
        (self.kind().open)(Place { name, path, guest, settings })
    }
}

/// Opens all of them; `input` is the file that the run is made of. Refuses what would leave only a
/// mixture behind.
pub(crate) fn open(
    emit: &[Emit],
    input: &Path,
    settings: &Settings,
) -> Result<(Vec<Box<dyn Output>>, Fresh), Failure> {
    let open = |emit: &Emit| emit.open(input, settings);
    let mut fresh = Fresh::default();
    let outputs = emit.iter().map(|emit| fresh.noting(emit.file.as_deref(), || open(emit)));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let places: Vec<_> = outputs.iter().zip(emit).map(|(it, emit)| emit.goes(&**it)).collect();
    places::all_different(&places, "the guest's text")?;
    if emit.iter().any(Emit::records) && emit.iter().any(Emit::keeps) {
        let why = "a run that is recorded cannot be gone back to; leave one of them out";
        return Err(Failure::Message(format!("--emit snapshot with --emit log: {why}")));
    }
    for (i, kind) in KINDS.iter().enumerate() {
        if let Some(why) = kind.once
            && emit.iter().filter(|emit| emit.kind == i).count() > 1
        {
            return Err(Failure::Message(format!("--emit {}: {why}", kind.name)));
        }
    }
    Ok((outputs, fresh))
}

#[cfg(test)]
mod tests {
    use super::{Emit, INSTRUMENTS, KINDS};

    #[test]
    fn each_kind_is_read_by_its_name_and_no_two_have_one() {
        for (i, kind) in KINDS.iter().enumerate() {
            let emit: Emit = format!("{}=a=b", kind.name).parse().expect(kind.name);
            assert_eq!((emit.kind, emit.file.as_deref()), (i, Some("a=b".as_ref())));
            assert_eq!(kind.name.parse::<Emit>().is_err(), kind.not_stdout.is_some());
            assert!("".parse::<Emit>().is_err());
        }
    }

    #[test]
    fn what_is_not_built_in_is_said_not_to_be() {
        for name in INSTRUMENTS {
            let found = format!("{name}=a").parse::<Emit>();
            assert_eq!(found.is_ok(), KINDS.iter().any(|kind| kind.name == name), "{name}");
            if let Err(why) = found
                && cfg!(not(feature = "instruments"))
            {
                assert!(why.contains("--features instruments"), "{why}");
            }
        }
    }
}
