//! `--allow INTERFACE`: the stock interfaces that a guest is given, and what becomes of its logs.

use crate::code::Failure;
use crate::heard::Heard;
use crate::session::Session;
use anstyle::AnsiColor;
use inspect::printable;
use measures::collect::Collector;
use portcall::abi::host::Level;
use portcall::abi::lab;
use portcall::stock::{Stock, StockAddress, StockSpans};
use portcall::{Builder, Image, Vm};

/// What may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Allow {
    /// Arguments, exits, translation, clock, random bytes, log, annotations.
    #[value(name = "Host")]
    Host,
    /// Where the guest's memory lies in the host's own address space.
    #[value(name = "HostAddress")]
    HostAddress,
    /// What the guest measures, for the table at the end.
    #[value(name = "Lab")]
    Lab,
    /// Spans of the guest's, for --emit trace.
    #[value(name = "Span")]
    Span,
    /// Nothing.
    #[value(name = "none")]
    Nothing,
}

impl Allow {
    /// What is allowed where nothing is said.
    pub(crate) const USUAL: [Self; 3] = [Self::Host, Self::Lab, Self::Span];
}

/// Nothing and something is no answer.
pub(crate) fn check(allowed: &[Allow]) -> Result<(), Failure> {
    let nothing = |it: &Allow| *it == Allow::Nothing;
    if allowed.iter().any(nothing) && !allowed.iter().all(nothing) {
        let why = "--allow none allows nothing, but another --allow does; leave one out";
        return Err(Failure::Message(why.to_owned()));
    }
    Ok(())
}

/// Serves what is allowed, to who listens.
pub(crate) fn serve<'a>(
    allowed: &[Allow],
    mut builder: Builder<'a>,
    session: &Session<'_>,
) -> Builder<'a> {
    if allowed.contains(&Allow::Host) {
        builder = builder.serve(Stock::new()).log(logger(session.heard()));
    }
    if allowed.contains(&Allow::HostAddress) {
        builder = builder.serve(StockAddress);
    }
    if allowed.contains(&Allow::Lab) {
        builder = builder.serve(session.collector().service());
    }
    if allowed.contains(&Allow::Span) {
        builder = builder.serve(if session.wants_spans() {
            StockSpans::heard()
        } else {
            StockSpans::unheard()
        });
    }
    builder
}

/// What the collector has to know of the VM, for an image that says that it measures: others make
/// no ioctl more.
pub(crate) fn opened(allowed: &[Allow], image: &Image<'_>, vm: &Vm, collector: &Collector) {
    let measures = image.notes().calls.iter().any(|it| it.name == lab::INTERFACE.name);
    if measures && allowed.contains(&Allow::Lab) {
        collector.opened(vm);
    }
}

/// Says lines of the guest's log, and keeps them where that is wanted.
pub(crate) fn logger(heard: Option<Heard>) -> impl FnMut(Level, &str) + Send + 'static {
    move |level, text| {
        if let Some(heard) = &heard {
            heard.logged(level, text);
        }
        log(level, text);
    }
}

/// A line of the guest's log, on stderr.
fn log(level: Level, text: &str) {
    let colour = match level {
        Level::Error => AnsiColor::Red,
        Level::Warn => AnsiColor::Yellow,
        Level::Info => AnsiColor::Green,
        Level::Debug | Level::Trace => AnsiColor::BrightBlack,
    };
    let style = colour.on_default();
    say!("guest {style}{}{style:#}: {}", level.name(), printable(text));
}
