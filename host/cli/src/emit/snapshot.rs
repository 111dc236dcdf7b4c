//! `--emit snapshot`: the guest as it is when it says that it is ready, for `portcall run FILE`.

use super::{Kind, Output, Place, Wants};
use crate::code::Failure;
use crate::session::Ended;
use portcall::Vm;
use portcall::sparse::Pagemap;
use snapshot::Target;
use std::path::Path;

pub(super) const KIND: Kind = Kind {
    name: "snapshot",
    not_stdout: Some("a snapshot is a file: name it, snapshot=FILE"),
    once: Some("a snapshot is taken once; name one file, and copy that"),
    wants: Wants { image: true, keeps: true, ..Wants::NOTHING },
    open,
};

struct Snapshot {
    name: String,
    /// In the jail it could not be opened any more.
    pagemap: Pagemap,
    /// Until it is taken.
    target: Option<Target>,
    /// Why there is none; `None` once there is.
    missing: Option<Failure>,
}

fn open(place: Place) -> Result<Box<dyn Output>, Failure> {
    let pagemap = Pagemap::open();
    let name = place.name;
    let target = Target::create(&place.path.unwrap_or_default())
        .map_err(|error| Failure::Message(format!("cannot create {name}: {error}")))?;
    let why = "the guest never said that it is ready (Host::ready)";
    let missing = Some(Failure::Message(format!("there is no snapshot {name}: {why}")));
    Ok(Box::new(Snapshot { name, pagemap, target: Some(target), missing }))
}

impl Output for Snapshot {
    fn replaces(&self) -> Option<&Path> {
        self.target.as_ref().map(Target::path)
    }

    fn keep(&mut self, vm: &mut Vm, image: &[u8]) {
        let Some(target) = self.target.take() else { return };
        self.missing = match vm.snapshot_with(&self.pagemap) {
            Ok(snapshot) => {
                let written = target.write(&snapshot, image);
                written.err().map(|error| Failure::writing(&self.name, &error))
            }
            Err(error) => Some(Failure::Message(format!("cannot take a snapshot: {error}"))),
        };
    }

    fn directory(&self) -> Option<&Path> {
        self.target.as_ref()?.directory()
    }

    fn write(self: Box<Self>, _: &Ended<'_>) -> Result<(), Failure> {
        self.missing.map_or(Ok(()), Err)
    }
}
