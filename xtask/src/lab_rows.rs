//! What is known of the laboratory's rows, whatever machine it is, and whether a report agrees.

use std::fmt::Write;

/// What a row is to come to.
struct Known {
    name: &'static str,
    /// Whether ring 3 has no meaning.
    only_ring_0: bool,
    /// From and to how many exits an operation.
    exits: Option<(f64, f64)>,
    /// Instructions an operation in an emulated ring 0.
    instructions: Option<f64>,
    /// How kvm_pvm fails at it in rings 0 and 3.
    on_pvm: [Option<&'static str>; 2],
}

const fn row(name: &'static str, exits: Option<(f64, f64)>, instructions: Option<f64>) -> Known {
    Known { name, only_ring_0: false, exits, instructions, on_pvm: [None; 2] }
}

const fn one(name: &'static str, instructions: f64) -> Known {
    row(name, Some((1.0, 1.0)), Some(instructions))
}

const fn none(name: &'static str, instructions: Option<f64>) -> Known {
    row(name, Some((0.0, 0.0)), instructions)
}

const fn in_ring_0(known: Known) -> Known {
    Known { only_ring_0: true, ..known }
}

const fn bad(known: Known, on_pvm: [Option<&'static str>; 2]) -> Known {
    Known { on_pvm, ..known }
}

/// A page of coalesced writes holds some hundred: more than a block of samples has.
const FEW: Option<(f64, f64)> = Some((0.0, 0.05));

/// A string instruction may leave for each of its 64 bytes, or once.
const STRING: Option<(f64, f64)> = Some((1.0, 64.0));

const fn batch(name: &'static str, size: f64) -> Known {
    row(name, Some((1.0 / size, 1.0 / size)), None)
}

const ROWS: &[Known] = &[
    one("out-1", 3.0),
    one("out-2", 3.0),
    one("out-4", 3.0),
    one("in-1", 2.0),
    one("in-2", 2.0),
    one("in-4", 2.0),
    row("outs", STRING, None),
    row("ins", STRING, None),
    one("mmio-read", 2.0),
    one("mmio-write", 3.0),
    in_ring_0(one("hlt", 2.0)),
    none("cpuid", Some(4.0)),
    in_ring_0(one("rdmsr", 2.0)),
    in_ring_0(one("wrmsr", 4.0)),
    none("ioeventfd-pio", Some(3.0)),
    none("ioeventfd-mmio", Some(3.0)),
    row("coalesced-pio", FEW, Some(3.0)),
    row("coalesced-mmio", FEW, Some(3.0)),
    one("call", 4.0),
    one("call-in", 5.0),
    one("call-out", 5.0),
    row("host-call", Some((1.0, 1.0)), None),
    batch("ring-1", 1.0),
    batch("ring-8", 8.0),
    batch("ring-64", 64.0),
    batch("ring-512", 512.0),
    none("polled", None),
    row("stop", None, None),
    in_ring_0(none("trap-int3", None)),
    in_ring_0(bad(none("trap-int", None), [Some("wedged"), None])),
    in_ring_0(bad(none("trap-syscall", None), [Some("wedged"), None])),
    none("touch", None),
    bad(none("vmcall", None), [Some("wedged"), Some("wrong")]),
    none("rdtsc", Some(1.0)),
];

/// What a report says of a row and ring, as JSON.
fn said<'j>(json: &'j str, name: &str, ring: u8) -> Option<&'j str> {
    let start = format!("{{\"name\":\"{name}\",");
    let mut parts = json.split(&start).skip(1).map(|it| it.split("{\"name\":").next());
    parts.find_map(|it| it.filter(|it| it.contains(&format!("\"ring\":{ring},"))))
}

/// What the first of these reports says of it that had the time for it.
fn reached<'j>(reports: &'j [String], name: &str, ring: u8) -> Option<&'j str> {
    let all = || reports.iter().filter_map(|json| said(json, name, ring));
    all().find(|it| !it.contains("\"not_reached\"")).or_else(|| all().next())
}

/// The rows for which a quick run had no time: on a busy machine these are many.
pub(crate) fn unreached(reports: &[String]) -> Vec<&'static str> {
    let is_left = |name: &str, ring| {
        reached(reports, name, ring).is_some_and(|it| it.contains("\"not_reached\""))
    };
    let names = ROWS.iter().map(|known| known.name);
    names.filter(|name| is_left(name, 0) || is_left(name, 3)).collect()
}

/// What is not as it should be in reports that have all rows and both rings together, as JSON.
pub(crate) fn differences(reports: &[String]) -> String {
    let is_pvm = reports.iter().any(|json| json.contains("\"kvm\":\"kvm_pvm\""));
    let mut wrong = String::new();
    for known in ROWS {
        for ring in [0, 3] {
            let result =
                reached(reports, known.name, ring).ok_or_else(|| "is not there".to_owned());
            if let Err(why) = result.and_then(|said| known.check(said, ring, is_pvm)) {
                // Writing to a String does not fail.
                let _ = writeln!(wrong, "{} in ring {ring}: {why}", known.name);
            }
        }
    }
    wrong
}

impl Known {
    fn check(&self, said: &str, ring: u8, is_pvm: bool) -> Result<(), String> {
        let kind = said.split("\"absent\":{\"kind\":\"").nth(1).and_then(|it| it.split('"').next());
        let wanted = match ring {
            3 if self.only_ring_0 => Some("meaningless"),
            _ if is_pvm => self.on_pvm[usize::from(ring == 3)],
            // Elsewhere a row may lack something; that it says why is the report's own form.
            _ if kind.is_some_and(|it| it != "failed") => return Ok(()),
            _ => None,
        };
        if kind != wanted {
            return Err(format!("it is {kind:?} where {wanted:?} is right: {said:.300}"));
        }
        if kind.is_some() { Ok(()) } else { self.check_figures(said, ring, is_pvm) }
    }

    fn check_figures(&self, said: &str, ring: u8, is_pvm: bool) -> Result<(), String> {
        if !said.contains("\"late\":null") {
            return Err("a later round failed".to_owned());
        }
        let counted = number(said, "instructions");
        if let Some(wanted) = self.instructions.filter(|_| is_pvm && ring == 0) {
            near(counted.unwrap_or(0.0), wanted, 0.01, "instructions")?;
        }
        if counted.is_some() && matches!(self.name, "stop" | "polled") {
            return Err("it counts instructions of a loop that waits".to_owned());
        }
        let Some((least, most)) = self.exits else { return Ok(()) };
        let shares = said.split("\"shares\":").nth(1).unwrap_or_default();
        let exits = number(shares, "exits").ok_or("it has no shares")?;
        if exits < least - 1e-6 || exits > most + 1e-6 {
            return Err(format!("{exits} exits, where {least} to {most} are right"));
        }
        let parts = ["kvm", "kernel", "ours"].map(|it| number(shares, it).unwrap_or(f64::NAN));
        near(parts.iter().sum(), median(said).ok_or("it has no samples")?, 0.01, "shares")
    }
}

fn near(value: f64, wanted: f64, by: f64, what: &str) -> Result<(), String> {
    let is_near = (value - wanted).abs() <= by;
    is_near.then_some(()).ok_or_else(|| format!("{what}: {value}, where {wanted} is right"))
}

/// The number of that name.
fn number(json: &str, name: &str) -> Option<f64> {
    let behind = json.split(&format!("\"{name}\":")).nth(1)?;
    behind.split([',', '}']).next()?.parse().ok()
}

/// Of all samples.
fn median(json: &str) -> Option<f64> {
    let rounds = json.split("\"rounds\":[").nth(1)?.split("]]").next()?;
    let numbers = rounds.split(',').map(|it| it.trim_matches(['[', ']']));
    let mut all: Vec<f64> = numbers.filter_map(|it| it.parse().ok()).collect();
    all.sort_by(f64::total_cmp);
    let last = all.len().checked_sub(1)?;
    Some(f64::midpoint(all[last / 2], all[all.len() / 2]))
}

#[cfg(test)]
mod tests {
    use super::{ROWS, median, number, reached, unreached};

    fn said(exits: f64, kvm: f64, instructions: f64) -> String {
        format!(
            "\"ring\":0,\"finding\":{{\"measured\":{{\"rounds\":[[1.0,9.0],[3.0,2.0]],\
             \"instructions\":{instructions:?},\"shares\":{{\"exits\":{exits:?},\"kvm\":{kvm:?},\
             \"kernel\":0.5,\"ours\":0.5}},\"late\":null}}}}"
        )
    }

    #[test]
    fn numbers_are_found() {
        assert_eq!(median(&said(1.0, 1.5, 3.0)), Some(2.5));
        assert_eq!(number(&said(1.0, 1.5, 3.0), "kvm"), Some(1.5));
        assert_eq!(number("{\"instructions\":null}", "instructions"), None);
    }

    #[test]
    fn a_row_is_looked_for_in_the_report_that_had_time_for_it() {
        let row = |finding: &str| {
            ["0", "3"]
                .map(|ring| format!("{{\"name\":\"out-1\",\"ring\":{ring},\"finding\":{finding}}}"))
        };
        let left = row("\"not_reached\"").concat();
        assert_eq!(unreached(std::slice::from_ref(&left)), ["out-1"]);
        let both = [left, row("{}").concat()];
        assert!(unreached(&both).is_empty());
        assert!(reached(&both, "out-1", 3).is_some_and(|it| it.contains("\"finding\":{}")));
    }

    #[test]
    fn a_row_that_is_off_is_seen() {
        let out = &ROWS[0];
        assert_eq!(out.check(&said(1.0, 1.5, 3.0), 0, true), Ok(()));
        assert!(out.check(&said(2.0, 1.5, 3.0), 0, true).is_err());
        assert!(out.check(&said(1.0, 1500.0, 3.0), 0, true).is_err());
        assert!(out.check(&said(1.0, 1.5, 4.0), 0, true).is_err());
        let absent = "\"ring\":0,\"finding\":{\"absent\":{\"kind\":\"wrong\",\"why\":\"so\"}}";
        assert!(out.check(absent, 0, true).is_err() && out.check(absent, 0, false).is_ok());
    }
}
