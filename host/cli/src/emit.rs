//! `--emit KIND[=FILE]`: what a run came to, for other programs.

use crate::code::Failure;
use crate::json::json;
use crate::output::{self, Patient};
use crate::session::Ended;
use inspect::core::AddressSpace;
use portcall::sparse::Pagemap;
use portcall::{Builder, Vm};
use replay::Recording;
use snapshot::Target;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Core,
    Log,
    Snapshot,
}

/// One `--emit`.
#[derive(Clone, Debug)]
pub(crate) struct Emit {
    kind: Kind,
    /// `None` for stdout.
    file: Option<PathBuf>,
}

impl FromStr for Emit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, file) = text.split_once('=').unwrap_or((text, "-"));
        let kind = match kind {
            "json" => Kind::Json,
            "core" => Kind::Core,
            "log" => Kind::Log,
            "snapshot" => Kind::Snapshot,
            _ => {
                let kinds = "there are json, core, log and snapshot";
                return Err(format!("{kind} cannot be emitted; {kinds}"));
            }
        };
        match (file, kind) {
            ("", _) => Err("it names no file after =; \"-\" is stdout".to_owned()),
            ("-", Kind::Log) => {
                Err("stdout has the guest's text: name a file, log=FILE".to_owned())
            }
            ("-", Kind::Snapshot) => Err("a snapshot is a file: name it, snapshot=FILE".to_owned()),
            ("-", Kind::Core) => Err("a core file is sparse: name a file, core=FILE".to_owned()),
            ("-", Kind::Json) => Ok(Self { kind, file: None }),
            (file, _) => Ok(Self { kind, file: Some(file.into()) }),
        }
    }
}

/// An opened `--emit`. Opened before the run, so that a wrong path costs no run.
pub(crate) struct Output {
    kind: Kind,
    name: String,
    /// `None` for stdout.
    file: Option<File>,
    /// Of a log, once it is begun.
    recording: Option<Recording>,
    /// Of a core file or a snapshot: in the jail it could not be opened any more.
    pagemap: Option<Pagemap>,
    /// Of a snapshot, until it is taken.
    target: Option<Target>,
    /// Why there is no snapshot; `None` once there is.
    missing: Option<Failure>,
}

impl Emit {
    /// Whether it wants exits counted.
    pub(crate) fn counts(&self) -> bool {
        self.kind == Kind::Json
    }

    /// Whether it is a log.
    pub(crate) fn records(&self) -> bool {
        self.kind == Kind::Log
    }

    /// Whether it is a snapshot.
    pub(crate) fn keeps(&self) -> bool {
        self.kind == Kind::Snapshot
    }

    /// Opens it; `input` is the file that the run is made of.
    pub(crate) fn open(&self, input: &Path) -> Result<Output, Failure> {
        let (kind, recording) = (self.kind, None);
        let pagemap = matches!(kind, Kind::Core | Kind::Snapshot).then(Pagemap::open);
        let opened = |name: String, file| Output {
            kind,
            name,
            file,
            recording,
            pagemap,
            target: None,
            missing: None,
        };
        let Some(path) = &self.file else {
            return Ok(opened("stdout".to_owned(), None));
        };
        let name = path.display().to_string();
        if is_same(path, input) {
            return Err(Failure::Message(format!(
                "{name} is what is to be run; name another file"
            )));
        }
        if kind == Kind::Snapshot {
            let target = Target::create(path)
                .map_err(|error| Failure::Message(format!("cannot create {name}: {error}")))?;
            let why = "the guest never said that it is ready (Host::ready)";
            let missing = Failure::Message(format!("there is no snapshot {name}: {why}"));
            let (target, missing) = (Some(target), Some(missing));
            return Ok(Output { target, missing, ..opened(name, None) });
        }
        // What stands there is lost only once there is something to put in its place. A pipe
        // that nobody reads is an error, not a wait.
        let mut options = File::options();
        let options =
            options.write(true).create(true).truncate(false).custom_flags(libc::O_NONBLOCK);
        let file = options
            .open(path)
            .map_err(|error| Failure::Message(format!("cannot create {name}: {error}")))?;
        let plain = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if self.kind == Kind::Core && !plain {
            let why = "a core file is sparse, and that is no plain file";
            return Err(Failure::Message(format!("cannot write {name}: {why}")));
        }
        Ok(opened(name, Some(file)))
    }
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}

/// Which plain file it is.
fn id_of(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((metadata.dev(), metadata.ino()))
}

/// The same of an output's.
fn id(output: &Output) -> Option<(u64, u64)> {
    id_of(output.file.as_ref()?)
}

/// Refuses two outputs to one file, of which only a mixture would be left.
pub(crate) fn all_different(outputs: &[Output]) -> Result<(), Failure> {
    // A shell may have led it to the same file.
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.ok().and_then(|stdout| id_of(&stdout.into()));
    for (i, output) in outputs.iter().enumerate() {
        if id(output).is_some() && outputs[..i].iter().any(|other| id(other) == id(output)) {
            let name = &output.name;
            return Err(Failure::Message(format!("{name} is named twice; name another file")));
        }
        if id(output).is_some_and(|id| stdout == Some(id)) {
            let name = &output.name;
            let why = "stdout goes there as well, with the guest's text; name another file";
            return Err(Failure::Message(format!("cannot write {name}: {why}")));
        }
    }
    let targets = || outputs.iter().filter_map(|output| output.target.as_ref());
    for target in targets() {
        // Nothing is open there yet.
        let there = File::open(target.path()).ok().and_then(|file| id_of(&file));
        if there.is_some() && (there == stdout || outputs.iter().any(|it| id(it) == there)) {
            let name = target.path().display();
            return Err(Failure::Message(format!("{name} is named twice; name another file")));
        }
    }
    if targets().count() > 1 {
        let why = "a snapshot is taken once; name one file, and copy that";
        return Err(Failure::Message(format!("--emit snapshot: {why}")));
    }
    let records = outputs.iter().any(|output| output.kind == Kind::Log);
    if records && targets().count() > 0 {
        let why = "a run that is recorded cannot be gone back to; leave one of them out";
        return Err(Failure::Message(format!("--emit snapshot with --emit log: {why}")));
    }
    if outputs.iter().filter(|output| output.kind == Kind::Log).count() > 1 {
        let why = "a run is recorded once; name one log, and copy that";
        return Err(Failure::Message(format!("--emit log: {why}")));
    }
    Ok(())
}

impl Output {
    /// What it wants of the VM: a log is written as the run goes. `image` is the whole file.
    pub(crate) fn equip<'b>(
        &mut self,
        builder: Builder<'b>,
        image: &[u8],
    ) -> Result<Builder<'b>, Failure> {
        let Some(file) = self.file.take_if(|_| self.kind == Kind::Log) else { return Ok(builder) };
        let file =
            Patient::replacing(file).map_err(|error| Failure::writing(&self.name, &error))?;
        let (recorder, recording) = replay::record(file, image);
        self.recording = Some(recording);
        Ok(builder.tape(recorder))
    }

    /// The guest says that it is ready: a snapshot is taken and written. Why not is said at the
    /// end, since the run goes on.
    pub(crate) fn keep(&mut self, vm: &mut Vm, image: &[u8]) {
        let Some(target) = self.target.take() else { return };
        let pagemap = self.pagemap.take().unwrap_or_else(Pagemap::open);
        self.missing = match vm.snapshot_with(&pagemap) {
            Ok(snapshot) => {
                let written = target.write(&snapshot, image);
                written.err().map(|error| Failure::writing(&self.name, &error))
            }
            Err(error) => Some(Failure::Message(format!("cannot take a snapshot: {error}"))),
        };
    }

    /// Where a snapshot is to be put in place of an older one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.target.as_ref()?.directory()
    }

    /// The run has failed on the host's side; a log is completed all the same.
    /// `signal` is the one that stopped it, if one did.
    pub(crate) fn abandon(self, signal: Option<i32>) -> Result<(), Failure> {
        let done = self.recording.map_or(Ok(()), |recording| recording.finish(signal));
        done.map_err(|error| Failure::writing(&self.name, &error))
    }

    pub(crate) fn write(self, ended: &Ended<'_>) -> Result<(), Failure> {
        if self.kind == Kind::Log {
            return self.abandon(ended.signal);
        }
        let Self { kind, name, file, pagemap, missing, .. } = self;
        match (kind, file) {
            (Kind::Snapshot, _) => missing.map_or(Ok(()), Err),
            (Kind::Core, Some(mut file)) => {
                let pagemap = pagemap.unwrap_or_else(Pagemap::open);
                let space = inspect::core::write(ended.vm, ended.outcome, &pagemap, &mut file)
                    .map_err(|error| Failure::Message(format!("{name}: {error}")))?;
                match space {
                    AddressSpace::Virtual => {}
                    AddressSpace::Physical => say!(
                        "  note: {name} has memory by guest-physical address: the page tables lead nowhere"
                    ),
                    _ => say!("  note: {name} is cut: the page tables map too much, or each other"),
                }
                Ok(())
            }
            (_, file) => {
                // One line.
                let line = format!("{}\n", json(ended));
                let done = match file {
                    Some(file) => output::replace(&file, line.as_bytes()),
                    None => output::print(&line),
                };
                done.map_err(|error| Failure::writing(&name, &error))
            }
        }
    }
}
