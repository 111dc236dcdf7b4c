//! What a person is told at the end of a run.

use crate::code::{self, GUEST_MAX};
use crate::count::Counts;
use crate::say;
use anstyle::AnsiColor;
use comfy_table::{CellAlignment, Table, presets};
use portcall::exit::ExitKind;
use portcall::{End, Outcome, registers};
use std::io::IsTerminal;
use std::time::Duration;

/// The last line, or where something went wrong, what is known about it.
pub(crate) fn end(outcome: &Outcome, process_code: u8, unmet: &[(String, String)], time: Duration) {
    let good = outcome.end.is_normal() && process_code == 0;
    let colour = if good { AnsiColor::Green } else { AnsiColor::Red };
    let style = colour.on_default().bold();
    let exits = outcome.stats.exits();
    let plural = if exits == 1 { "" } else { "s" };
    let ms = time.as_secs_f64() * 1e3;
    say!("{style}portcall{style:#}: {} ({exits} exit{plural}, {ms:.1} ms)", outcome.end);
    for (wanted, found) in unmet {
        say!("  expected {wanted}, but {found}");
    }
    if let End::Exited(code) = &outcome.end
        && *code > GUEST_MAX
    {
        let (max, own) = (GUEST_MAX, code::CODE_DOES_NOT_FIT);
        say!("  codes above {max} mean something else to a shell; the process code is {own}");
    }
    let notes = notes(outcome);
    if !outcome.end.is_normal() && !matches!(outcome.end, End::Panicked { .. }) {
        show_registers(outcome);
    }
    for note in notes {
        say!("  note: {note}");
    }
}

/// What went on without ending the run, and may surprise.
fn notes(outcome: &Outcome) -> Vec<String> {
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

fn show_registers(outcome: &Outcome) {
    let named = registers::named(&outcome.registers);
    for row in named.chunks(3) {
        let row: Vec<String> =
            row.iter().map(|(name, value)| format!("{name:>6} {value:#018x}")).collect();
        say!("  {}", row.join("  "));
    }
}

/// `--stats`: where the exits and the time went.
pub(crate) fn stats(outcome: &Outcome, counts: &Counts, instructions: Option<u64>) {
    let stats = &outcome.stats;
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
    let instructions = match instructions {
        Some(count) => count.to_string(),
        None => "not counted by this KVM".to_owned(),
    };
    rest.add_row(["instructions that KVM emulated".to_owned(), instructions]);
    show(rest);
}

fn us(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}

/// Drawn with lines on a terminal, plain columns in a pipe.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let lines = std::io::stderr().is_terminal();
    table.load_style(if lines { presets::UTF8_BORDERS_ONLY } else { presets::NOTHING });
    table.set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn show(table: Table) {
    say!("{}", table.trim_fmt());
}
