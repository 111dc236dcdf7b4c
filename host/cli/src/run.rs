//! `portcall run`: from the command line to a VM, and to its end.

use crate::allow::{self, Allow};
use crate::code::{self, Failure};
use crate::experiment::Experiment;
use crate::image_file::ImageFile;
use crate::jail;
use crate::output::Plain;
use crate::session::{Common, Session};
use portcall::{Error, Image, Kvm, Ring, Vm};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
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

    /// Gives the guest a stock interface, in place of Host alone: Host, HostAddress (where its
    /// memory lies in this process), or none alone. May be repeated. Of a text that a guest
    /// logs, 16 lines are shown, and 1000 characters of each.
    #[arg(long, value_name = "INTERFACE", default_value = "Host", hide_possible_values = true)]
    allow: Vec<Allow>,

    #[command(flatten)]
    common: Common,

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
}

fn ring(text: &str) -> Result<Ring, String> {
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

pub(crate) fn run(options: &Options, mut experiment: Experiment) -> Result<u8, Failure> {
    let start = Instant::now();
    let common = &options.common;
    allow::check(&options.allow)?;
    let mut file = ImageFile::open(&options.image)?;
    let bytes = if common.wants_whole_image() { file.whole()? } else { file.loaded()? };
    let image = Image::parse(&bytes).map_err(|error| options.about_image(&error))?;
    let mut session = Session::open(common, &image, options.ring, &options.image, start)?;
    let kvm = Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;

    let builder = Vm::builder(&kvm, &image)
        .memory(options.memory)
        .ring(options.ring)
        .arguments(options.args.iter().cloned())
        .console(session.console()?)
        .input(Plain::of(io::stdin().as_fd())?)
        .tick(TICK);
    let builder = allow::serve(&options.allow, session.equip(builder, &bytes)?);
    let mut vm = experiment.configure(builder).build().map_err(|it| options.about_build(it))?;
    let ready = session.ready(&vm)?;
    jail::enter(experiment.take_jail(), common, &options.image)?;

    let mut outcome = vm.run()?;
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
    session.conclude(&vm, &outcome, ready, None, || file.whole())
}
