//! What a person is told at the end of a run.

use crate::code::{self, GUEST_MAX};
use crate::output;
use crate::session::Ended;
use anstyle::AnsiColor;
use comfy_table::{CellAlignment, Table, presets};
use inspect::{KvmKind, Style, printable};
use portcall::exit::ExitKind;
use portcall::{End, Outcome, Ring};
use std::io::IsTerminal;
use std::time::Duration;

/// From how many emulated instructions an exit on ring 3 pays on a KVM that emulates ring 0
/// (its exits cost some 30 us more, its instructions nothing).
const RING_3_PAYS: u64 = 30;

/// What went wrong, if something did, and a last line in any case.
pub(crate) fn end(ended: &Ended<'_>) {
    let outcome = ended.outcome;
    if let Some(explanation) = &ended.explanation {
        // Colour or not is for the stream to decide, which strips it where it does not belong.
        output::say(&explanation.render(Style { colour: true }));
    }
    let (good, verdict) = verdict(ended);
    let colour = if good { AnsiColor::Green } else { AnsiColor::Red };
    let style = colour.on_default().bold();
    say!("{style}portcall{style:#}: {verdict}");
    for (wanted, found) in &ended.unmet {
        say!("  expected {wanted}, but {found}");
    }
    if let End::Exited(code) = &outcome.end
        && *code > GUEST_MAX
    {
        let (max, own) = (GUEST_MAX, code::CODE_DOES_NOT_FIT);
        say!("  codes above {max} mean something else to a shell; the process code is {own}");
    }
    for note in notes(outcome) {
        say!("  note: {note}");
    }
    for (key, value) in outcome.annotations.iter() {
        say!("  {}: {}", printable(key), printable(value));
    }
}

/// Whether all went well, and the last line that says so.
pub(crate) fn verdict(ended: &Ended<'_>) -> (bool, String) {
    let outcome = ended.outcome;
    let good = outcome.end.is_normal() && ended.code == 0;
    let exits = outcome.stats.exits();
    let plural = if exits == 1 { "" } else { "s" };
    let ms = ended.time.as_secs_f64() * 1e3;
    let what = if let Some(signal) = ended.signal {
        let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
        format!("interrupted by {name}, process code {}", ended.code)
    } else if outcome.end.is_normal() {
        outcome.end.to_string()
    } else {
        format!("ended as {}, process code {}", outcome.end.name(), ended.code)
    };
    (good, format!("{what} ({exits} exit{plural}, {ms:.1} ms)"))
}

/// The same for a page, whose headline has the end of a run that went well.
#[cfg(feature = "instruments")]
pub(crate) fn verdict_on_page(ended: &Ended<'_>) -> (bool, String) {
    let (good, verdict) = verdict(ended);
    let end = ended.outcome.end.to_string();
    match verdict.strip_prefix(&end).filter(|_| ended.outcome.end.is_normal()) {
        Some(rest) => (good, format!("process code {}{rest}", ended.code)),
        None => (good, verdict),
    }
}

/// What went on without ending the run, and may surprise.
pub(crate) fn notes(outcome: &Outcome) -> Vec<String> {
    let mut notes = Vec::new();
    for (port, (reads, writes)) in outcome.stats.unanswered.iter().take(4) {
        notes.push(format!(
            "nobody answers port {port:#x} ({reads} reads gave all ones, {writes} writes were dropped)"
        ));
    }
    let ports = outcome.stats.unanswered.len();
    if ports > 4 {
        notes.push(format!("nor {} other ports", ports - 4));
    }
    if outcome.stats.console_lost > 0 {
        notes.push(format!(
            "{} bytes of console text were lost: more than the console window holds was claimed, \
             or nobody took them",
            outcome.stats.console_lost
        ));
    }
    notes
}

/// `--stats`: where the exits and the time went.
pub(crate) fn stats(ended: &Ended<'_>) {
    let (stats, counts, instructions) = (&ended.outcome.stats, &ended.counts, ended.instructions);
    let mut kinds = table(&["exits", "count"]);
    for kind in ExitKind::ALL.into_iter().filter(|kind| stats.exits_of(*kind) > 0) {
        kinds.add_row([kind.name().to_owned(), stats.exits_of(kind).to_string()]);
    }
    kinds.add_row(["all".to_owned(), stats.exits().to_string()]);
    show(kinds);
    if !counts.ports.is_empty() {
        let mut ports = table(&["port", "reads", "writes", "bytes"]);
        for (number, port) in &counts.ports {
            let counts = [port.reads, port.writes, port.bytes].map(|count| count.to_string());
            ports.add_row([&[format!("{number:#x}")][..], &counts[..]].concat());
        }
        show(ports);
    }
    let mut rest = table(&["what", "how much"]);
    rest.add_row(["console bytes".to_owned(), stats.console_bytes.to_string()]);
    rest.add_row(["time in the guest (KVM_RUN)".to_owned(), us(counts.in_guest)]);
    rest.add_row(["time in the host, between exits".to_owned(), us(counts.in_host)]);
    let emulated = match instructions {
        Some(count) => count.to_string(),
        None if stats.exits_of(ExitKind::Debug) > 0 => {
            "not told: those for breakpoints and steps would be among them".to_owned()
        }
        None => "not counted by this KVM".to_owned(),
    };
    rest.add_row(["instructions that KVM emulated".to_owned(), emulated]);
    show(rest);
    let per_exit = instructions.unwrap_or(0) / stats.exits().max(1);
    if ended.ring == Ring::Zero && KvmKind::detect() == KvmKind::Pvm && per_exit >= RING_3_PAYS {
        say!(
            "note: this KVM emulates ring 0, here {per_exit} instructions an exit; with --ring 3 they \
             run natively"
        );
    }
}

fn us(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}

/// Drawn with lines on a terminal, plain columns in a pipe.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let lines = std::io::stderr().is_terminal();
    table.load_style(if lines { presets::UTF8_BORDERS_ONLY } else { presets::NOTHING });
    table.set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn show(table: Table) {
    say!("{}", table.trim_fmt());
}
