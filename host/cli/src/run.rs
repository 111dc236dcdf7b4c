//! `portcall run`: from the command line to a VM, and to its end.

use crate::allow::{self, Allow};
use crate::code::{self, Failure};
use crate::deferred;
use crate::experiment::Experiment;
use crate::image_file::ImageFile;
use crate::jail;
use crate::output::Plain;
use crate::session::{Common, Session};
use portcall::layout::MEMORY_DEFAULT;
use portcall::{Error, Image, Kvm, Ring, Snapshot, Vm};
use snapshot::{FileError, Saved};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Text of a guest that makes no exit appears at least this often.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The guest: a static x86-64 ELF file, or a snapshot (--emit snapshot), which has memory, ring
    /// and arguments in it.
    image: PathBuf,

    /// The guest's memory, from 1MiB to 63GiB; only what it touches costs [default: 16MiB].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,

    /// The ring the guest starts in: 0, or 3 for user mode with ports [default: 0].
    #[arg(long, value_name = "0|3", value_parser = ring)]
    ring: Option<Ring>,

    /// Gives the guest a stock interface, in place of Host, Lab and Span: Host, Lab (a table of what it
    /// measures), Span (what it does when, for --emit trace), HostAddress (where its memory lies in this
    /// process), or none alone. May be
    /// repeated. Of a text that a guest logs, 16 lines are shown, and 1000 characters of each.
    #[arg(
        long,
        value_name = "INTERFACE",
        default_values = ["Host", "Lab", "Span"],
        hide_possible_values = true
    )]
    allow: Vec<Allow>,

    #[command(flatten)]
    common: Common,

    /// Arguments for the guest, after --.
    #[arg(last = true)]
    args: Vec<String>,
}

impl Options {
    /// Those of a command line that names a guest and nothing else.
    pub(crate) fn plain(image: PathBuf) -> Self {
        let (allow, common) = (Allow::USUAL.to_vec(), Common::default());
        Self { image, memory: None, ring: None, allow, common, args: Vec::new() }
    }

    /// What is wrong with the image, with its name.
    fn about_image(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Message(format!("{}: {error}", self.image.display()))
    }

    /// The same of a snapshot.
    fn about_snapshot(&self, error: &FileError) -> Failure {
        match error {
            FileError::Open { .. } | FileError::NotPlain { .. } => {
                Failure::Message(error.to_string())
            }
            _ => self.about_image(error),
        }
    }

    /// What has been decided when a snapshot was taken cannot be chosen.
    fn check_snapshot(&self) -> Result<(), Failure> {
        let chosen = [
            ("--memory", self.memory.is_some(), "the memory is in it"),
            ("--ring", self.ring.is_some(), "the ring is in it"),
            ("arguments after --", !self.args.is_empty(), "the arguments are in it"),
            ("--emit log", self.common.records(), "a log begins with a guest's first instruction"),
        ];
        match chosen.into_iter().find(|(_, chosen, _)| *chosen) {
            Some((what, _, why)) => {
                let name = self.image.display();
                Err(Failure::Message(format!("{name} is a snapshot: {why}; leave out {what}")))
            }
            None => Ok(()),
        }
    }

    /// Why there is no VM.
    fn about_build(&self, error: Error) -> Failure {
        match error {
            Error::Memory(error) => self.about_image(&error),
            error => error.into(),
        }
    }
}

pub(crate) fn ring(text: &str) -> Result<Ring, String> {
    match text {
        "0" => Ok(Ring::Zero),
        "3" => Ok(Ring::Three),
        _ => Err("there are 0 and 3".to_owned()),
    }
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    // K, M and G are binary, as they are wherever memory is meant.
    parse_size::Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("{error} (16MiB, 4GiB, 2097152)"))
}

/// The guest that is to be run.
struct Guest {
    file: ImageFile,
    /// Its image: as far as it is loaded, or whole where that is wanted.
    image: Vec<u8>,
    /// Where it comes out of a snapshot.
    saved: Option<Saved>,
}

impl Guest {
    fn open(options: &Options) -> Result<Self, Failure> {
        let mut file = ImageFile::open(&options.image)?;
        if file.is_snapshot() {
            options.check_snapshot()?;
            let opened = snapshot::open(&options.image);
            let (image, saved) = opened.map_err(|error| options.about_snapshot(&error))?;
            return Ok(Self { file, image, saved: Some(saved) });
        }
        let whole = options.common.wants_whole_image();
        let image = if whole { file.whole()? } else { file.loaded()? };
        Ok(Self { file, image, saved: None })
    }
}

pub(crate) fn run(options: &Options, mut experiment: Experiment) -> Result<u8, Failure> {
    let start = Instant::now();
    let common = &options.common;
    allow::check(&options.allow)?;
    let Guest { mut file, image: bytes, saved } = Guest::open(options)?;
    let image = Image::parse(&bytes).map_err(|error| options.about_image(&error))?;
    let saved = saved.map(|saved| saved.snapshot(&image)).transpose();
    let saved = saved.map_err(|error| options.about_snapshot(&error))?;
    let ring = saved.as_ref().map_or(options.ring.unwrap_or_default(), Snapshot::ring);
    let mut session = Session::open(common, &image, ring, &options.image, start)?;
    session.told(saved.as_ref().map_or(&options.args[..], Snapshot::arguments));
    let kvm = Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;

    let builder = match &saved {
        Some(saved) => Vm::from_snapshot(&kvm, saved),
        None => Vm::builder(&kvm, &image)
            .memory(options.memory.unwrap_or(MEMORY_DEFAULT))
            .ring(ring)
            .arguments(options.args.iter().cloned()),
    };
    let builder =
        builder.console(session.console()?).input(Plain::of(io::stdin().as_fd())?).tick(TICK);
    let builder = session.equip(builder, &bytes)?;
    let builder = allow::serve(&options.allow, builder, &session);
    // Dropped behind the VM.
    let _deferred;
    let mut vm = experiment.configure(builder).build().map_err(|it| options.about_build(it))?;
    vm.reseed()?;
    _deferred = deferred::end_of(&vm, &kvm);
    let ready = session.ready(&vm)?;
    allow::opened(&options.allow, &image, &vm, session.collector());
    session.attach(&kvm, &vm, &options.image)?;
    jail::enter(experiment.take_jail(), common, &options.image, session.snapshot_directory())?;

    let mut outcome = session.run(&mut vm, &bytes)?;
    if code::of(&outcome.end, None) == 0 {
        outcome = match experiment.check(&mut vm, outcome) {
            Ok(outcome) => outcome,
            Err(failure) => {
                if vm.outcome()?.is_some() {
                    session.abandon()?;
                }
                return Err(failure);
            }
        };
    }
    let whole = || if saved.is_some() { Ok(bytes.clone()) } else { file.whole() };
    session.conclude(&vm, &outcome, ready, None, whole)
}
