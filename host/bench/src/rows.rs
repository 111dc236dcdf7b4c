//! All rows, in the order in which they are measured.

use crate::process::Work;
use crate::row::{Budget, Figure, Pairs, Row, Unit};
use crate::sides::{Role, Whose};
use std::ffi::OsString;
use std::path::PathBuf;

/// What was built for the bench.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// `portcall`, as shipped.
    pub(crate) portcall: PathBuf,
    /// naive.c, linked statically where that is possible.
    pub(crate) naive: PathBuf,
    /// The same, linked dynamically.
    pub(crate) naive_dynamic: PathBuf,
    /// Where the guests `calc` and `text` are.
    pub(crate) guests: PathBuf,
    /// The smallest guest, as an ELF file.
    pub(crate) minimal: PathBuf,
}

pub(crate) fn all(places: &Places) -> Vec<Row> {
    let mut rows = calls(places);
    rows.extend(programs(places));
    rows.extend(lives());
    rows.extend(resets());
    rows.extend(consoles(places));
    rows
}

fn calls(places: &Places) -> Vec<Row> {
    let call = |name, ring| Row {
        name,
        what: "a call of one number, in the jail, over the same by a loop of bare ioctls",
        unit: Unit::Microseconds,
        figure: Figure::Ratio,
        budget: Some(Budget::AtMost(1.02)),
        ours: Work::Role(Role::Call { whose: Whose::Ours, ring, jail: true }),
        floor: Some(Work::Role(Role::Call { whose: Whose::Bare, ring, jail: false })),
        pairs: Pairs { quick: 100, full: 1000 },
        cost: if ring == 3 { 12 } else { 5 },
    };
    let no_jail = |name, ring| Row {
        name,
        what: "the same without the jail",
        budget: None,
        ours: Work::Role(Role::Call { whose: Whose::Ours, ring, jail: false }),
        ..call(name, ring)
    };
    let door = |name, text, ring| Row {
        name,
        what: if text {
            "a call of the host's, a text of 20 bytes and back, over a call by bare ioctls"
        } else {
            "a call of the host's, two numbers, over a call by bare ioctls"
        },
        budget: None,
        ours: Work::Role(Role::Door { text, ring, image: places.guests.join("calc") }),
        pairs: Pairs { quick: 60, full: 400 },
        cost: 6,
        ..call(name, ring)
    };
    vec![
        call("call-ring-0", 0),
        call("call-ring-3", 3),
        no_jail("call-no-jail-ring-0", 0),
        no_jail("call-no-jail-ring-3", 3),
        door("door-ring-0", false, 0),
        door("door-ring-3", false, 3),
        door("door-text-ring-0", true, 0),
        door("door-text-ring-3", true, 3),
    ]
}

/// Programs, from outside. The guest is the same file for all.
fn programs(places: &Places) -> Vec<Row> {
    let words = |all: &[&PathBuf]| all.iter().map(OsString::from).collect::<Vec<_>>();
    let ours =
        vec![places.portcall.clone().into(), "run".into(), places.minimal.clone().into_os_string()];
    let (fixed, dynamic) = (
        words(&[&places.naive, &places.minimal]),
        words(&[&places.naive_dynamic, &places.minimal]),
    );
    let start = |name, what, budget, floor| Row {
        name,
        what,
        unit: Unit::Milliseconds,
        figure: Figure::Ratio,
        budget,
        ours: Work::ToExit(ours.clone()),
        floor: Some(Work::ToExit(floor)),
        pairs: Pairs { quick: 60, full: 1000 },
        cost: 6,
    };
    vec![
        start(
            "process",
            "start to exit of `portcall run` with a minimal guest, over naive.c linked statically",
            Some(Budget::AtMost(1.0)),
            fixed.clone(),
        ),
        start(
            "process-dynamic",
            "the same over naive.c linked dynamically, as a tutorial builds it",
            None,
            dynamic,
        ),
        Row {
            name: "peak-memory",
            what: "resident at most in `portcall run` with a minimal guest, without naive.c's",
            unit: Unit::Kibibytes,
            figure: Figure::Difference,
            budget: Some(Budget::AtMost(2048.0)),
            ours: Work::Peak(ours.clone()),
            floor: Some(Work::Peak(fixed)),
            pairs: Pairs { quick: 10, full: 40 },
            cost: 8,
        },
    ]
}

fn lives() -> Vec<Row> {
    // More than may wait to be closed, so that a full queue counts.
    let life = |whose| Work::Role(Role::Life { whose, vms: 30 });
    let many = |whose| Work::RoleToExit(Role::Many { whose, vms: 1000 });
    let idle = |whose| Work::Role(Role::Idle { whose, vms: 64 });
    vec![
        Row {
            name: "life",
            what: "create, run to the first exit, drop, by Kvm::for_many: the caller's time, over the \
                   naive order",
            unit: Unit::Microseconds,
            figure: Figure::Ratio,
            budget: Some(Budget::AtMost(0.5)),
            ours: life(Whose::Ours),
            floor: Some(life(Whose::Bare)),
            pairs: Pairs { quick: 20, full: 200 },
            cost: 80,
        },
        Row {
            name: "thousand-lives",
            what: "the same 1000 times, from a process's start to its exit, drained: all given back",
            unit: Unit::Milliseconds,
            figure: Figure::Ratio,
            budget: Some(Budget::AtMost(0.8)),
            ours: many(Whose::Ours),
            floor: Some(many(Whose::Bare)),
            pairs: Pairs { quick: 1, full: 8 },
            cost: 5000,
        },
        Row {
            name: "idle-memory",
            what: "resident for each further VM that stays, without what its guest touched",
            unit: Unit::Kibibytes,
            figure: Figure::Ours,
            budget: Some(Budget::AtMost(60.0)),
            ours: idle(Whose::Ours),
            floor: Some(idle(Whose::Bare)),
            pairs: Pairs { quick: 6, full: 12 },
            cost: 400,
        },
    ]
}

/// VMs that go back to their snapshot, in place of new ones.
fn resets() -> Vec<Row> {
    let naive = Work::Role(Role::Life { whose: Whose::Bare, vms: 8 });
    let over_naive = |name, what, most, ours| Row {
        name,
        what,
        unit: Unit::Microseconds,
        figure: Figure::Ratio,
        budget: Some(Budget::AtMost(most)),
        ours,
        floor: Some(naive.clone()),
        pairs: Pairs { quick: 20, full: 200 },
        cost: 60,
    };
    let turns = |ring, restores| Work::Role(Role::Reset { ring, restores });
    let restore = |name, ring, budget| Row {
        name,
        what: "a run that touches 16 pages with a restore behind it, without the bare run",
        unit: Unit::Microseconds,
        figure: Figure::Difference,
        budget,
        ours: turns(ring, true),
        floor: Some(turns(ring, false)),
        pairs: Pairs { quick: 20, full: 200 },
        cost: 60,
    };
    vec![
        over_naive(
            "pool",
            "take from a warm pool, run to the first exit, give back, over a life in the naive order",
            0.15,
            Work::Role(Role::Pool { hand_out: false }),
        ),
        Row {
            name: "pool-take",
            what: "a hand-out by a warm pool alone",
            unit: Unit::Microseconds,
            figure: Figure::Ours,
            budget: None,
            ours: Work::Role(Role::Pool { hand_out: true }),
            floor: None,
            pairs: Pairs { quick: 20, full: 100 },
            cost: 30,
        },
        over_naive(
            "reset-ring-3",
            "restore and run again, 16 pages touched, over a life in the naive order",
            0.05,
            turns(3, true),
        ),
        restore("restore-ring-0", 0, Some(Budget::AtMost(15.0))),
        restore("restore-ring-3", 3, None),
    ]
}

/// Lines of the guest `text` that are 1 MiB.
const MIB_OF_LINES: u32 = 16384;

fn consoles(places: &Places) -> Vec<Row> {
    let image = || places.guests.join("text");
    let rate = |name, ring, lines, pairs, what| {
        let side = |whose| Work::Role(Role::Console { whose, ring, image: image(), lines });
        Row {
            name,
            what,
            unit: Unit::MebibytesPerSecond,
            figure: Figure::Ratio,
            budget: Some(Budget::AtLeast(100.0)),
            ours: side(Whose::Ours),
            floor: Some(side(Whose::Bare)),
            pairs,
            cost: 400,
        }
    };
    vec![
        Row {
            name: "console-exits",
            what: "exits of a guest that prints 1 MiB by println!; they are the same in both rings",
            unit: Unit::Exits,
            figure: Figure::Ours,
            budget: Some(Budget::AtMost(300.0)),
            ours: Work::Role(Role::Exits { ring: 3, image: image(), lines: MIB_OF_LINES }),
            floor: None,
            pairs: Pairs { quick: 6, full: 6 },
            cost: 10,
        },
        rate(
            "console-ring-0",
            0,
            MIB_OF_LINES / 8,
            Pairs { quick: 2, full: 20 },
            "text by println!, an eighth of a MiB, in the jail, over an exit a byte by bare ioctls",
        ),
        rate(
            "console-ring-3",
            3,
            MIB_OF_LINES,
            Pairs { quick: 6, full: 40 },
            "1 MiB of text by println!, in the jail, over an exit a byte by bare ioctls",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn rows() -> Vec<Row> {
        let any = || PathBuf::from("x");
        all(&Places {
            portcall: any(),
            naive: any(),
            naive_dynamic: any(),
            guests: any(),
            minimal: any(),
        })
    }

    #[test]
    fn names_are_unique_and_good_for_files() {
        let rows = rows();
        let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len());
        let plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        assert!(names.iter().all(|name| name.chars().all(plain)), "{names:?}");
    }

    #[test]
    fn every_figure_that_compares_has_a_floor() {
        for row in rows() {
            assert!(row.floor.is_some() || row.figure == Figure::Ours, "{}", row.name);
            assert!(row.pairs.quick > 0 && row.pairs.quick <= row.pairs.full, "{}", row.name);
        }
    }
}
