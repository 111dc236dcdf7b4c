//! What a guest measured: the table at the end, and as JSON.

use crate::report;
use inspect::printable;
use measures::collect::{Collector, Sampled};
use measures::statistics::Summary;
use serde_json::{Value, json};

/// The most rows that are shown, and the most notes: more is a file's to hold.
const SHOWN: usize = 100;

/// What the columns of the table are called.
const HEADER: [&str; 8] =
    ["measured", "samples", "p50", "p90", "p99", "spread", "instructions", "timer"];

/// What there is at the end of a run.
pub(crate) struct Measured {
    sampled: Vec<Sampled>,
    absent: Vec<(String, String)>,
    left_out: u64,
}

impl Measured {
    pub(crate) fn of(collector: &Collector) -> Self {
        let (sampled, absent) = (collector.sampled(), collector.absent());
        Self { sampled, absent, left_out: collector.left_out() }
    }

    /// Lists, since a guest may give a name twice. Times are nanoseconds.
    pub(crate) fn json(&self) -> Value {
        let absent = self.absent.iter().map(|(name, why)| json!({ "name": name, "why": why }));
        let sampled = self.sampled.iter().map(|it| {
            json!({
                "name": it.name,
                "operations": it.operations,
                "warm_up": it.warm_up,
                "planned": it.planned,
                "complete": it.is_complete,
                "timer_ns": it.timer,
                "timers_ns": it.timers,
                "samples_ns": it.samples,
                "dropped": it.dropped,
                "instructions": it.instructions,
            })
        });
        json!({
            "sampled": sampled.collect::<Vec<_>>(),
            "absent": absent.collect::<Vec<_>>(),
            "left_out": self.left_out,
        })
    }

    /// The table for a page.
    #[cfg(feature = "instruments")]
    pub(crate) fn page(&self) -> inspect::report::Table {
        inspect::report::Table {
            header: HEADER.to_vec(),
            rows: self.sampled.iter().map(row).collect(),
            notes: self.notes(),
        }
    }

    /// What the table does not say.
    fn notes(&self) -> Vec<String> {
        // A guest ends within one measurement at most.
        let parts = self.sampled.iter().filter(|it| !it.is_complete).map(|it| {
            let (name, samples, planned) = (on_one_line(&it.name), it.samples.len(), it.planned);
            format!("note: {name} is a part: {samples} of {planned} samples")
        });
        let dropped = self.sampled.iter().filter(|it| it.dropped > 0).map(|it| {
            let (name, dropped) = (on_one_line(&it.name), it.dropped);
            format!("note: {name} has {dropped} samples more, which were too many to keep")
        });
        let absent = self.absent.iter();
        let absent = absent
            .map(|(name, why)| format!("not measured: {}: {}", on_one_line(name), printable(why)));
        parts.chain(dropped).chain(absent).collect()
    }
}

/// The table, for a guest that measured something, and what is to be said besides.
pub(crate) fn show(measured: &Measured) {
    if !measured.sampled.is_empty() {
        let mut table = report::table(&HEADER);
        for sampled in measured.sampled.iter().take(SHOWN) {
            table.add_row(row(sampled));
        }
        report::show(table);
        let warm_up = measured.sampled.iter().map(|it| it.warm_up).max().unwrap_or_default();
        say!(
            "  an operation's times; the timer's beside them, of which the table has the least and \
             the most, was subtracted; spread is from p10 to p90; before them up to {warm_up} samples \
             were left out"
        );
        let more = measured.sampled.len().saturating_sub(SHOWN);
        if more > 0 {
            say!("  and {more} more, which --emit json has");
        }
    }
    let notes = measured.notes();
    for note in notes.iter().take(SHOWN) {
        say!("  {note}");
    }
    if notes.len() > SHOWN {
        say!("  and {} more of these", notes.len() - SHOWN);
    }
    if measured.left_out > 0 {
        say!("  note: {} measurements more were too many to keep", measured.left_out);
    }
}

/// A name of the guest's: one with line breaks would look like further rows.
fn on_one_line(name: &str) -> String {
    name.chars().map(portcall::printable).collect()
}

fn row(sampled: &Sampled) -> Vec<String> {
    let mut row = vec![on_one_line(&sampled.name), sampled.samples.len().to_string()];
    let times = Summary::of(&sampled.samples).map_or_else(Vec::new, |it| {
        [it.median, it.p90, it.p99, it.p90 - it.p10].map(time).to_vec()
    });
    row.extend(times);
    row.resize(6, "-".to_owned());
    let instructions = sampled.instructions.map(|it| {
        let is_whole = (it - it.round()).abs() < 0.005;
        if is_whole { format!("{it:.0}") } else { format!("{it:.2}") }
    });
    row.push(instructions.unwrap_or_else(|| "-".to_owned()));
    row.push(timer(sampled));
    row
}

/// What the timer took itself, from the least to the most where that is not the same.
fn timer(sampled: &Sampled) -> String {
    let all = Summary::of(&sampled.timers);
    let bounds = all.map(|it| [it.least, it.most].map(time)).filter(|[least, most]| least != most);
    bounds.map_or_else(|| time(sampled.timer), |[least, most]| format!("{least} to {most}"))
}

/// Nanoseconds, in the unit that keeps them short.
fn time(ns: f64) -> String {
    match ns.abs() {
        it if it < 1e3 => format!("{ns:.1} ns"),
        it if it < 1e6 => format!("{:.2} us", ns / 1e3),
        it if it < 1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::{row, time};
    use measures::collect::Sampled;

    #[test]
    fn a_row_says_what_there_is() {
        let mut sampled = Sampled {
            name: "an\x1b[2J\nOUT".to_owned(),
            operations: 1,
            warm_up: 1,
            planned: 4,
            timer: 25.0,
            timers: vec![25.0],
            samples: vec![9000.0, 11_000.0, 10_000.0],
            dropped: 0,
            instructions: Some(3.0),
            watched: None,
            is_complete: false,
        };
        let wanted = [
            "an\u{fffd}[2J\u{fffd}OUT",
            "3",
            "10.00 us",
            "11.00 us",
            "11.00 us",
            "2.00 us",
            "3",
            "25.0 ns",
        ];
        assert_eq!(row(&sampled), wanted);
        sampled.timers.push(1200.0);
        assert_eq!(row(&sampled)[7], "25.0 ns to 1.20 us");
        sampled.timers.pop();
        sampled.samples.clear();
        sampled.instructions = Some(0.25);
        let wanted = ["an\u{fffd}[2J\u{fffd}OUT", "0", "-", "-", "-", "-", "0.25", "25.0 ns"];
        assert_eq!(row(&sampled), wanted);
    }

    #[test]
    fn times_keep_their_sign() {
        assert_eq!(time(-3.21), "-3.2 ns");
        assert_eq!([time(2.5e6), time(1.5e9)], ["2.50 ms", "1.50 s"]);
    }
}
