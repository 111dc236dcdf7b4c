//! `--emit trace`: every exit, call and span with its times.

use super::sink::Sink;
use super::{Kind, Output, Place, Wants};
use crate::code::Failure;
use crate::session::Ended;
use inspect::trace::{Format, Subject, Trace};
use inspect::{KvmKind, Symbols};
use portcall::Builder;
use std::fs::File;

pub(super) const KIND: Kind = Kind {
    name: "trace",
    not_stdout: None,
    once: None,
    wants: Wants { symbols: true, spans: true, ..Wants::NOTHING },
    open,
};

/// Kept in memory until the end.
struct Traced {
    to: Sink,
    format: Format,
    guest: String,
    trace: Trace,
}

fn open(place: Place) -> Result<Box<dyn Output>, Failure> {
    // Who has it on the terminal wants to read it.
    let format = place.path.as_deref().map_or(Format::Text, Format::of);
    let guest = place.guest.clone();
    Ok(Box::new(Traced { to: Sink::open(place)?, format, guest, trace: Trace::new() }))
}

impl Traced {
    fn write(self, symbols: Option<&Symbols<'_>>) -> Result<(), Failure> {
        let Self { to, format, guest, trace } = self;
        let subject = Subject { name: &guest, symbols, kind: KvmKind::detect() };
        let (name, dropped) = (to.name.clone(), trace.dropped());
        to.write(|to| trace.write(format, &subject, to))?;
        if dropped > 0 {
            say!("  note: {name} has the last {} events; {dropped} were dropped", trace.count());
        }
        Ok(())
    }
}

impl Output for Traced {
    fn file(&self) -> Option<&File> {
        self.to.file.as_ref()
    }

    fn equip<'b>(&mut self, builder: Builder<'b>, _: &[u8]) -> Result<Builder<'b>, Failure> {
        Ok(builder.observe(self.trace.clone()))
    }

    fn write(self: Box<Self>, ended: &Ended<'_>) -> Result<(), Failure> {
        let symbols = Symbols::new(&ended.file, ended.image.bias());
        Traced::write(*self, Some(&symbols))
    }

    fn fail(self: Box<Self>) -> Result<(), Failure> {
        Traced::write(*self, None)
    }
}
