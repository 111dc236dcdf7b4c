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
enum Form {
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
    let ending = place.path.as_ref().and_then(|path| path.extension()?.to_str());
    let form = match ending {
        Some("info" | "lcov") => Form::Lcov,
        Some("html") => Form::Page,
        _ => {
            let why = "coverage is lcov, FILE.info or FILE.lcov, or a page, FILE.html";
            return Err(Failure::Message(format!("--emit coverage={}: {why}", place.name)));
        }
    };
    let (guest, settings) = (place.guest.clone(), place.settings.clone());
    Ok(Box::new(Coverage {
        sink: Sink::open(place.name, place.path.as_deref())?,
        form,
        guest,
        settings,
        collector: None,
    }))
}

impl Output for Coverage {
    fn file(&self) -> Option<&File> {
        self.sink.file.as_ref()
    }

    fn equip<'b>(&mut self, builder: Builder<'b>, file: &[u8]) -> Result<Builder<'b>, Failure> {
        let image = Image::parse(file).map_err(|error| Failure::Message(error.to_string()))?;
        let guest = &self.guest;
        let places = places(&self.settings);
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
        self.collector = Some(Collector::new(plan));
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
        let left_out = collector.left_out();
        if left_out > 0 {
            say!(
                "  note: {left_out} places of the line table are none of the guest's instructions"
            );
        }
        let coverage = collector.finish();
        sink.write(|to| match form {
            Form::Lcov => coverage.write_lcov(&guest, to),
            Form::Page => coverage.write_html(&guest, to),
        })
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
