//! `--emit log`: all that the guest got from the host, for `portcall replay`.

use super::{Kind, Output, Place, Wants};
use crate::code::Failure;
use crate::output::Patient;
use crate::session::Ended;
use crate::sink::Sink;
use portcall::Builder;
use replay::Recording;
use std::fs::File;

pub(super) const KIND: Kind = Kind {
    name: "log",
    not_stdout: Some("stdout has the guest's text: name a file, log=FILE"),
    once: Some("a run is recorded once; name one log, and copy that"),
    // A replay of it can show spans only if the guest has been asked for them.
    wants: Wants { image: true, records: true, spans: true, ..Wants::NOTHING },
    open,
};

/// Written as the run goes.
struct Log {
    name: String,
    /// Until it is begun.
    file: Option<File>,
    /// Once it is begun.
    recording: Option<Recording>,
}

fn open(place: Place) -> Result<Box<dyn Output>, Failure> {
    let Sink { name, file } = Sink::open(place.name, place.path.as_deref())?;
    Ok(Box::new(Log { name, file, recording: None }))
}

impl Log {
    /// Completes it; `signal` is the one that stopped the run, if one did.
    fn finish(self, signal: Option<i32>) -> Result<(), Failure> {
        let done = self.recording.map_or(Ok(()), |recording| recording.finish(signal));
        done.map_err(|error| Failure::writing(&self.name, &error))
    }
}

impl Output for Log {
    fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    fn equip<'b>(&mut self, builder: Builder<'b>, image: &[u8]) -> Result<Builder<'b>, Failure> {
        let Some(file) = self.file.take() else { return Ok(builder) };
        let file =
            Patient::replacing(file).map_err(|error| Failure::writing(&self.name, &error))?;
        let (recorder, recording) = replay::record(file, image);
        self.recording = Some(recording);
        Ok(builder.tape(recorder))
    }

    fn write(self: Box<Self>, ended: &Ended<'_>) -> Result<(), Failure> {
        self.finish(ended.signal)
    }

    /// It is completed all the same.
    fn abandon(self: Box<Self>) -> Result<(), Failure> {
        self.finish(None)
    }
}
