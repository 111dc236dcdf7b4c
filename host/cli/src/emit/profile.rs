//! `--emit profile`: where the guest spent its time, as a flame graph or as folded stacks.

use super::{Kind, Output, Place, Wants};
use crate::code::Failure;
use crate::session::Ended;
use crate::sink::Sink;
use inspect::Symbols;
use inspect::drive::Driver;
use inspect::profile::Profiler;
use portcall::{Builder, Image};
use std::fs::File;

pub(super) const KIND: Kind = Kind {
    name: "profile",
    not_stdout: Some("how it is written follows from the file's name: name one, profile=FILE.svg"),
    once: Some("samples are taken once; name one file, FILE.svg or FILE.folded"),
    wants: Wants { image: true, drives: true, ..Wants::NOTHING },
    open,
};

/// The two that there are.
#[derive(Clone, Copy)]
enum Form {
    Svg,
    Folded,
}

struct Profile {
    sink: Sink,
    form: Form,
    rate: u32,
    title: String,
    profiler: Option<Profiler>,
    /// The image's whole file, for its symbols, and what was added to its addresses.
    image: (Vec<u8>, u64),
}

fn open(place: Place) -> Result<Box<dyn Output>, Failure> {
    let ending = place.path.as_ref().and_then(|path| path.extension()?.to_str());
    let form = match ending {
        Some("svg") => Form::Svg,
        Some("folded") => Form::Folded,
        _ => {
            let why = "a profile is a flame graph, FILE.svg, or stacks as text, FILE.folded";
            return Err(Failure::Message(format!("--emit profile={}: {why}", place.name)));
        }
    };
    let (rate, title) = (place.settings.profile_rate, place.guest.clone());
    Ok(Box::new(Profile {
        sink: Sink::open(place.name, place.path.as_deref())?,
        form,
        rate,
        title,
        profiler: None,
        image: (Vec::new(), 0),
    }))
}

impl Output for Profile {
    fn file(&self) -> Option<&File> {
        self.sink.file.as_ref()
    }

    fn equip<'b>(&mut self, builder: Builder<'b>, file: &[u8]) -> Result<Builder<'b>, Failure> {
        let image = Image::parse(file).map_err(|error| Failure::Message(error.to_string()))?;
        self.image = (file.to_vec(), image.bias());
        let profiler = self.profiler.insert(Profiler::new(self.rate, &image, file));
        Ok(profiler.equip(builder))
    }

    fn driver(&mut self) -> Option<&mut dyn Driver> {
        self.profiler.as_mut().map(|it| it as _)
    }

    fn write(self: Box<Self>, _: &Ended<'_>) -> Result<(), Failure> {
        self.save()
    }

    /// Where it was by then shows where it failed.
    fn fail(self: Box<Self>) -> Result<(), Failure> {
        self.save()
    }
}

impl Profile {
    fn save(self) -> Result<(), Failure> {
        let Self { sink, form, title, rate, profiler, image: (file, bias) } = self;
        let Some(profile) = profiler.map(Profiler::finish) else { return Ok(()) };
        if profile.samples() == 0 {
            let name = &sink.name;
            say!("  note: {name} has no samples: the guest ended before the first, 1/{rate} s");
        }
        let symbols = Symbols::new(&file, bias);
        sink.write(|to| match form {
            Form::Svg => profile.write_svg(&title, &symbols, to),
            Form::Folded => profile.write_folded(&symbols, to),
        })
    }
}
