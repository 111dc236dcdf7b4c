//! `--emit coverage`: which lines of its source the guest has reached, as lcov or as a page.

use super::{Kind, Output, Place, Settings, Wants};
use crate::code::Failure;
use crate::session::Ended;
use crate::sink::Sink;
use inspect::coverage::{Collector, Plan};
use inspect::drive::Driver;
use portcall::{Builder, Image};
use std::fs::File;
use std::path::{Path, PathBuf};

pub(super) const KIND: Kind = Kind {
    name: "coverage",
    not_stdout: Some(
        "how it is written follows from the file's name: name one, coverage=FILE.info",
    ),
    once: None,
    wants: Wants { image: true, drives: true, ..Wants::NOTHING },
    open,
};

/// The two that there are.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Lcov,
    Page,
}

struct Coverage {
    sink: Sink,
    form: Form,
    guest: String,
    settings: Settings,
    collector: Option<Collector>,
}

fn open(place: Place) -> Result<Box<dyn Output>, Failure> {
    let form = Form::of(place.path.as_deref(), &place.name)?;
    let (guest, settings) = (place.guest.clone(), place.settings.clone());
    Ok(Box::new(Coverage {
        sink: Sink::open(place.name, place.path.as_deref())?,
        form,
        guest,
        settings,
        collector: None,
    }))
}

impl Form {
    /// By the file's name.
    fn of(path: Option<&Path>, name: &str) -> Result<Self, Failure> {
        match path.and_then(|path| path.extension()?.to_str()) {
            Some("info" | "lcov") => Ok(Self::Lcov),
            Some("html") => Ok(Self::Page),
            _ => {
                let why = "coverage is lcov, FILE.info or FILE.lcov, or a page, FILE.html";
                Err(Failure::Message(format!("--emit coverage={name}: {why}")))
            }
        }
    }
}

/// A coverage of many runs of a guest, one after the other.
pub(crate) struct OfTests {
    pub(crate) collector: Collector,
    sink: Sink,
    form: Form,
    guest: String,
}

impl OfTests {
    /// To that file, of lines as `settings` has them; `elf` is the image's whole file.
    pub(crate) fn open(
        path: &Path,
        guest: String,
        settings: &Settings,
        elf: &[u8],
    ) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let form = Form::of(Some(path), &name)?;
        let sink = Sink::open(name, Some(path))?;
        Ok(Self { collector: collector(elf, &guest, settings)?, sink, form, guest })
    }

    pub(crate) fn save(self) -> Result<(), Failure> {
        let Self { collector, sink, form, guest } = self;
        save(collector, sink, form, &guest)
    }
}

impl Output for Coverage {
    fn file(&self) -> Option<&File> {
        self.sink.file.as_ref()
    }

    fn equip<'b>(&mut self, builder: Builder<'b>, file: &[u8]) -> Result<Builder<'b>, Failure> {
        self.collector = Some(collector(file, &self.guest, &self.settings)?);
        Ok(builder)
    }

    fn driver(&mut self) -> Option<&mut dyn Driver> {
        self.collector.as_mut().map(|it| it as _)
    }

    fn write(self: Box<Self>, _: &Ended<'_>) -> Result<(), Failure> {
        self.save()
    }

    /// What was reached by then shows where it failed.
    fn fail(self: Box<Self>) -> Result<(), Failure> {
        self.save()
    }
}

impl Coverage {
    fn save(self) -> Result<(), Failure> {
        let Self { sink, form, guest, collector, .. } = self;
        let Some(collector) = collector else { return Ok(()) };
        save(collector, sink, form, &guest)
    }
}

/// Why there is not a line, of the sources beneath these places; `None` for all.
fn nothing_to_cover(guest: &str, places: Option<&[PathBuf]>) -> String {
    let Some(places) = places else {
        return format!("no source of {guest} has code in it; build it with -g");
    };
    let names: Vec<_> = places.iter().map(|it| it.display().to_string()).collect();
    let names = names.join(", ");
    format!(
        "no source of {guest} beneath {names} has code in it; name where they are, \
         --coverage-of PATH, or take all of them, --coverage-of all"
    )
}

fn save(collector: Collector, sink: Sink, form: Form, guest: &str) -> Result<(), Failure> {
    let left_out = collector.left_out();
    if left_out > 0 {
        say!("  note: {left_out} places of the line table are none of the guest's instructions");
    }
    let coverage = collector.finish();
    sink.write(|to| match form {
        Form::Lcov => coverage.write_lcov(guest, to),
        Form::Page => coverage.write_html(guest, to),
    })
}

/// What looks for the lines that are wanted of an image.
fn collector(file: &[u8], guest: &str, settings: &Settings) -> Result<Collector, Failure> {
    let image = Image::parse(file).map_err(|error| Failure::Message(error.to_string()))?;
    let places = places(settings);
    let wanted = |path: &Path| match &places {
        Some(places) => places.iter().any(|place| path.starts_with(place)),
        None => true,
    };
    let plan = Plan::of(&image, file, wanted).map_err(|why| {
        Failure::Message(format!("there are no lines of {guest} to cover: {why}"))
    })?;
    if plan.addresses().next().is_none() {
        return Err(Failure::Message(nothing_to_cover(guest, places.as_deref())));
    }
    Ok(Collector::new(plan))
}

/// Where the sources lie whose lines are wanted; `None` for all.
fn places(settings: &Settings) -> Option<Vec<PathBuf>> {
    let named = settings.coverage_of.as_ref()?;
    let here = std::env::current_dir().unwrap_or_default();
    if named.is_empty() {
        return Some(vec![here]);
    }
    // As the compiler has them, without links.
    Some(named.iter().map(|it| it.canonicalize().unwrap_or_else(|_| here.join(it))).collect())
}
