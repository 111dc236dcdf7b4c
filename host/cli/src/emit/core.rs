//! `--emit core`: the guest at its end, for gdb.

use super::{Kind, Output, Place, Wants};
use crate::code::Failure;
use crate::session::Ended;
use crate::sink::Sink;
use inspect::core::AddressSpace;
use portcall::sparse::Pagemap;
use std::fs::File;

pub(super) const KIND: Kind = Kind {
    name: "core",
    not_stdout: Some("a core file is sparse: name a file, core=FILE"),
    once: None,
    wants: Wants::NOTHING,
    open,
};

struct Core {
    name: String,
    file: File,
    /// In the jail it could not be opened any more.
    pagemap: Pagemap,
}

fn open(place: Place) -> Result<Box<dyn Output>, Failure> {
    let pagemap = Pagemap::open();
    let Sink { name, file } = Sink::open(place.name, place.path.as_deref())?;
    let plain = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
    let Some(file) = file.filter(plain) else {
        let why = "a core file is sparse, and that is no plain file";
        return Err(Failure::Message(format!("cannot write {name}: {why}")));
    };
    Ok(Box::new(Core { name, file, pagemap }))
}

impl Output for Core {
    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn write(self: Box<Self>, ended: &Ended<'_>) -> Result<(), Failure> {
        let Self { name, mut file, pagemap } = *self;
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
}
