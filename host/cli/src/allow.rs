//! `--allow INTERFACE`: the stock interfaces that a guest is given, and what becomes of its logs.

use crate::code::Failure;
use anstyle::AnsiColor;
use inspect::printable;
use portcall::Builder;
use portcall::abi::host::Level;
use portcall::stock::{Stock, StockAddress, StockSpans};

/// What may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Allow {
    /// Arguments, exits, translation, clock, random bytes, log, annotations.
    #[value(name = "Host")]
    Host,
    /// Where the guest's memory lies in the host's own address space.
    #[value(name = "HostAddress")]
    HostAddress,
    /// Spans of the guest's, for --emit trace.
    #[value(name = "Span")]
    Span,
    /// Nothing.
    #[value(name = "none")]
    Nothing,
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

/// Serves what is allowed. `spans` says whether anyone wants to hear of the guest's.
pub(crate) fn serve<'a>(allowed: &[Allow], mut builder: Builder<'a>, spans: bool) -> Builder<'a> {
    if allowed.contains(&Allow::Host) {
        builder = builder.serve(Stock::new()).log(log);
    }
    if allowed.contains(&Allow::HostAddress) {
        builder = builder.serve(StockAddress);
    }
    if allowed.contains(&Allow::Span) {
        builder = builder.serve(if spans { StockSpans::heard() } else { StockSpans::unheard() });
    }
    builder
}

/// A line of the guest's log, on stderr.
pub(crate) fn log(level: Level, text: &str) {
    let colour = match level {
        Level::Error => AnsiColor::Red,
        Level::Warn => AnsiColor::Yellow,
        Level::Info => AnsiColor::Green,
        Level::Debug | Level::Trace => AnsiColor::BrightBlack,
    };
    let style = colour.on_default();
    say!("guest {style}{}{style:#}: {}", level.name(), printable(text));
}
