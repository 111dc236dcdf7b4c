//! A run as one page: how it ended and where, what its time went to, what lay in its memory, and what
//! the guest said. HTML in one file, which loads nothing; it reads without scripts.
//!
//! A [`Recorder`] watches the run, a [`Profiler`](crate::profile::Profiler) may sample it, and at the
//! end a [`Report`] is told what there is. All that came from the guest is escaped (maud), shown
//! by numbers where it would not be seen, and cut: a page has a bounded size, whatever the run did.
//!
//! ```
//! use inspect::report::{Recorder, Report};
//! use inspect::{KvmKind, Symbols};
//! use portcall::{Image, Kvm, Vm};
//!
//! let image = Image::flat(&[0xf4])?;
//! let recorder = Recorder::new();
//! let mut vm =
//!     Vm::builder(&Kvm::open()?, &image).memory(2 << 20).observe(recorder.clone()).build()?;
//! let outcome = vm.run()?;
//! let (symbols, kind) = (Symbols::new(&[], 0), KvmKind::detect());
//! let explanation = inspect::explain(&vm, &image, &outcome, &[], kind)?;
//! let mut report = Report::new("halts", &vm, &image, &outcome, &explanation);
//! report.symbols = Some(&symbols);
//! report.recorder = Some(&recorder);
//! assert!(report.page().contains("halted"));
//! # Ok::<(), portcall::Error>(())
//! ```

mod bins;
mod ending;
mod flame;
mod map;
mod picture;
mod said;
mod seen;
mod timeline;
mod work;

pub use said::{Said, Table};
pub use seen::Recorder;

use crate::explain::Explanation;
use crate::kind::KvmKind;
use crate::profile::Profile;
use crate::symbols::Symbols;
pub use ::page::sha256;
use ::page::{Page, Section, text};
use maud::{Markup, html};
use portcall::sparse::Pagemap;
use portcall::{Image, Outcome, Vm};

const STYLE: &str = include_str!("report/style.css");
const SCRIPT: &str = include_str!("report/script.js");

/// What stops are called that the guest did not ask for.
const STOPS: &str = "the host's own stops";

/// How long a name of the guest's is at most, in columns; and a sentence.
const NAME: usize = 160;
const SENTENCE: usize = 1000;
/// The most lines of a text of several, such as a panic's message.
const LINES: usize = 16;

/// All that a page is made of. What is not set is left out of it.
#[non_exhaustive]
pub struct Report<'a, 'f> {
    /// What people call the guest.
    pub name: &'a str,
    /// The VM at its end.
    pub vm: &'a Vm,
    /// What was loaded into it.
    pub image: &'a Image<'a>,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// The same, explained.
    pub explanation: &'a Explanation,
    /// Whether all went well, and what there is to say of that besides the explanation's headline,
    /// without line breaks.
    pub verdict: Option<(bool, String)>,
    /// What was run, and how: names and values.
    pub facts: Vec<(&'static str, String)>,
    /// What was expected, and what was found instead.
    pub unmet: Vec<(String, String)>,
    /// What may surprise: sentences.
    pub notes: Vec<String>,
    /// The image's symbols.
    pub symbols: Option<&'a Symbols<'f>>,
    /// The KVM that ran it, which says where RIP is at an exit.
    pub kind: KvmKind,
    /// What watched the run.
    pub recorder: Option<&'a Recorder>,
    /// Samples of it.
    pub profile: Option<Profile>,
    /// Which pages of this process's were touched: opened before a jail was entered.
    pub pagemap: Option<&'a Pagemap>,
    /// The instructions that KVM emulated, where it counts them; not under breakpoints and steps,
    /// for which it emulates as well.
    pub instructions: Option<u64>,
    /// What the guest printed and logged.
    pub said: Said,
    /// What it measured.
    pub measured: Table,
}

impl<'a> Report<'a, '_> {
    /// One of what every run has.
    #[must_use]
    pub fn new(
        name: &'a str,
        vm: &'a Vm,
        image: &'a Image<'a>,
        outcome: &'a Outcome,
        explanation: &'a Explanation,
    ) -> Self {
        Self {
            name,
            vm,
            image,
            outcome,
            explanation,
            verdict: None,
            facts: Vec::new(),
            unmet: Vec::new(),
            notes: Vec::new(),
            symbols: None,
            kind: KvmKind::detect(),
            recorder: None,
            profile: None,
            pagemap: None,
            instructions: None,
            said: Said::default(),
            measured: Table::default(),
        }
    }

    /// The page, as HTML.
    #[must_use]
    pub fn page(&self) -> String {
        let mut sections = vec![
            Section::new("end", "How it ended", ending::explained(self)),
            Section::new("said", "What the guest said", said::all(self)),
        ];
        if let Some(recorder) = self.recorder {
            let seen = recorder.seen();
            sections.push(Section::new("exits", "Exits", work::exits(self, &seen)));
            sections.push(Section::new("timeline", "Timeline", timeline::all(self, &seen)));
        }
        if let Some(profile) = &self.profile {
            sections.push(Section::new(
                "flame",
                "Where the guest's time went",
                flame::graph(self, profile),
            ));
        }
        if let Some(recorder) = self.recorder {
            let steps = work::steps(&recorder.seen());
            sections.push(Section::new("steps", "The twelve steps", steps));
        }
        sections.push(Section::new("memory", "Memory", map::memory(self)));
        sections.push(Section::new(
            "registers",
            "Registers and page walks",
            ending::registers(self),
        ));
        let title = format!("{}: a run", text::shown(self.name, NAME));
        let subtitle = self.subtitle();
        Page {
            title: &title,
            subtitle: &subtitle,
            warnings: &[],
            sections: &sections,
            style: STYLE,
            script: Some(SCRIPT),
        }
        .document()
    }

    fn subtitle(&self) -> Markup {
        let good = self.verdict.as_ref().map_or(self.explanation.normal, |(good, _)| *good);
        html! {
            p.headline.good[good].bad[!good] { (block(&self.explanation.headline)) }
            @if let Some((_, sentence)) = &self.verdict {
                p.verdict { (guests(sentence, SENTENCE)) }
            }
            @for (wanted, found) in &self.unmet {
                p.verdict.bad { "expected " (guests(wanted, NAME)) ", but " (guests(found, NAME)) }
            }
            dl.facts {
                @for (name, value) in &self.facts { dt { (name) } dd { (guests(value, SENTENCE)) } }
            }
        }
    }
}

/// A text of the guest's on one line: whatever direction it has, it keeps to itself.
fn guests(text: &str, limit: usize) -> Markup {
    html! { bdi { (text::shown(text, limit)) } }
}

/// One of several lines.
fn block(text: &str) -> Markup {
    let (lines, more) = text::lines(text, LINES, SENTENCE);
    let mut text = lines.join("\n");
    if more > 0 {
        text += &format!("\n\u{2026} and {more} more lines");
    }
    html! { bdi.block { (text) } }
}

/// Nanoseconds in the unit that fits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn time(nanoseconds: u64) -> String {
    if nanoseconds == 0 {
        return "0".to_owned();
    }
    ::page::units::time(nanoseconds as f64, None).replace(" us", " \u{b5}s").replace(' ', "\u{a0}")
}

/// A share in percent of the whole, as a place in a picture.
#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 100.0).clamp(0.0, 100.0) }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

impl std::fmt::Debug for Report<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("name", &self.name).finish_non_exhaustive()
    }
}
