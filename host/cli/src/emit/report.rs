//! `--emit report`: the run as one page.

use super::{Kind, Output, Place, Wants};
use crate::code::Failure;
use crate::heard::Heard;
use crate::report;
use crate::session::Ended;
use crate::sink::Sink;
use inspect::drive::Driver;
use inspect::profile::{Profile, Profiler};
use inspect::report::{Recorder, Report, Said};
use inspect::{KvmKind, Symbols};
use portcall::sparse::Pagemap;
use portcall::{Builder, Image, Ring};
use std::fs::File;
use std::time::SystemTime;

pub(super) const KIND: Kind = Kind {
    name: "report",
    not_stdout: Some("a page is for a browser: name a file, report=FILE.html"),
    once: Some("a run has one page; name one file, FILE.html"),
    wants: Wants {
        counts: true,
        image: true,
        symbols: true,
        drives: true,
        spans: true,
        ..Wants::NOTHING
    },
    open,
};

struct Page {
    sink: Sink,
    rate: u32,
    began: SystemTime,
    guest: String,
    recorder: Recorder,
    heard: Heard,
    profiler: Option<Profiler>,
    /// In the jail it could not be opened any more.
    pagemap: Pagemap,
}

fn open(place: Place) -> Result<Box<dyn Output>, Failure> {
    let is_html = |it: &std::path::Path| {
        it.extension()
            .is_some_and(|it| ["html", "htm"].iter().any(|is| it.eq_ignore_ascii_case(is)))
    };
    if !place.path.as_deref().is_some_and(is_html) {
        let why = "a report is a page, FILE.html";
        return Err(Failure::Message(format!("--emit report={}: {why}", place.name)));
    }
    Ok(Box::new(Page {
        pagemap: Pagemap::open(),
        sink: Sink::open(place.name, place.path.as_deref())?,
        rate: place.settings.profile_rate,
        began: SystemTime::now(),
        guest: place.guest,
        recorder: Recorder::new(),
        heard: Heard::default(),
        profiler: None,
    }))
}

impl Output for Page {
    fn file(&self) -> Option<&File> {
        self.sink.file.as_ref()
    }

    fn heard(&self) -> Option<&Heard> {
        Some(&self.heard)
    }

    fn equip<'b>(&mut self, builder: Builder<'b>, file: &[u8]) -> Result<Builder<'b>, Failure> {
        let image = Image::parse(file).map_err(|error| Failure::Message(error.to_string()))?;
        let profiler = self.profiler.insert(Profiler::new(self.rate, &image, file));
        Ok(profiler.equip(builder.observe(self.recorder.clone())))
    }

    fn driver(&mut self) -> Option<&mut dyn Driver> {
        self.profiler.as_mut().map(|it| it as _)
    }

    fn write(self: Box<Self>, ended: &Ended<'_>) -> Result<(), Failure> {
        let Self { sink, rate, began, guest, recorder, heard, profiler, pagemap } = *self;
        let symbols = Symbols::new(&ended.file, ended.image.bias());
        let kind = KvmKind::detect();
        let own;
        let explanation = match &ended.explanation {
            Some(explanation) => explanation,
            None => {
                own = inspect::explain(ended.vm, ended.image, ended.outcome, &ended.file, kind)?;
                &own
            }
        };
        let mut report = Report::new(&guest, ended.vm, ended.image, ended.outcome, explanation);
        let (good, verdict) = report::verdict_on_page(ended);
        // The terminal has it for further lines to be set in.
        report.verdict = Some((good, verdict.split_whitespace().collect::<Vec<_>>().join(" ")));
        report.profile = profiler.map(Profiler::finish);
        let taken = report.profile.as_ref().map_or(0, Profile::samples);
        report.facts = facts(ended, began, kind);
        report.facts.push(("samples", format!("{taken} taken; {rate} a second were asked for")));
        report.unmet.clone_from(&ended.unmet);
        report.notes = report::notes(ended.outcome);
        report.symbols = Some(&symbols);
        report.kind = kind;
        report.recorder = Some(&recorder);
        report.pagemap = Some(&pagemap);
        report.instructions = ended.instructions;
        report.said = said(&heard);
        report.measured = ended.measured.page();
        let page = report.page();
        sink.write(|to| to.write_all(page.as_bytes()))
    }
}

/// What was run, and how.
fn facts(ended: &Ended<'_>, began: SystemTime, kind: KvmKind) -> Vec<(&'static str, String)> {
    let memory: u64 = ended.vm.layout().ram.iter().map(|it| it.end - it.start).sum();
    let ring = if ended.ring == Ring::Three { "3" } else { "0" };
    let notes = ended.image.notes();
    let calls: Vec<_> = notes.calls.iter().map(|it| it.name.to_string()).collect();
    let arguments = match &ended.arguments[..] {
        [] => "none".to_owned(),
        some => some.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(" "),
    };
    let began = humantime::format_rfc3339_seconds(began).to_string();
    let took = format!("{:.1} ms from there to the guest's end", ended.time.as_secs_f64() * 1e3);
    let mut facts = vec![
        ("image", ended.input.display().to_string()),
        ("its SHA-256", inspect::report::sha256(&ended.file)),
        ("arguments", arguments),
        ("ring", ring.to_owned()),
        ("memory", mebibytes(memory)),
        ("KVM", kvm(kind).to_owned()),
        ("began", format!("{began}; {took}")),
    ];
    facts.extend(ended.facts.iter().cloned());
    facts.push(("portcall", env!("CARGO_PKG_VERSION").to_owned()));
    if !calls.is_empty() {
        facts.insert(4, ("calls", calls.join(", ")));
    }
    facts
}

/// Memory in the unit that people give it in.
fn mebibytes(bytes: u64) -> String {
    match bytes.is_multiple_of(1 << 20) {
        true => format!("{} MiB", bytes >> 20),
        false => format!("{} KiB", bytes >> 10),
    }
}

/// A KVM by its module.
const fn kvm(kind: KvmKind) -> &'static str {
    match kind {
        KvmKind::Vmx => "kvm_intel (VMX)",
        KvmKind::Svm => "kvm_amd (SVM)",
        KvmKind::Pvm => "kvm_pvm, which emulates ring 0",
        KvmKind::Unknown => "none whose module is known here",
    }
}

fn said(heard: &Heard) -> Said {
    let mut kept = heard.kept();
    let kept = std::mem::take(&mut *kept);
    let behind = kept.first_lines.len();
    Said {
        console: (kept.first, kept.last.into()),
        console_between: kept.between,
        log: kept.first_lines.into_iter().chain(kept.last_lines).collect(),
        log_between: (behind, kept.lines_between),
    }
}
