//! What was measured of a subject so far, and the rows that it comes to.

use crate::report::{Absence, Absent, Finding, Measured, Row, Shares};
use crate::round::{Piece, Subject, Taken};
use crate::rows;

/// The most rows that a guest of the caller's makes.
const ROWS_MAX: usize = 100;

/// A subject in a ring, and what is known of it.
pub(crate) struct Gathered {
    pub(crate) subject: Subject,
    pub(crate) ring: u8,
    /// Why there will be no more of it.
    pub(crate) absent: Option<Absent>,
    /// What a guest of the caller's ended in, if that was nothing good.
    pub(crate) end: Option<Absent>,
    rows: Vec<Measurement>,
}

/// A row in the making.
struct Measurement {
    name: String,
    found: Result<Measured, Absent>,
}

impl Gathered {
    pub(crate) const fn new(subject: Subject, ring: u8) -> Self {
        Self { subject, ring, absent: None, end: None, rows: Vec::new() }
    }

    /// Takes in a round.
    pub(crate) fn take(&mut self, taken: Taken) {
        for piece in taken.pieces {
            if !piece.is_complete {
                let end = taken.end.as_ref().map(|end| end.why.as_str());
                let why = end.unwrap_or("the guest ended before its last sample");
                let kind = taken.end.as_ref().map_or(Absence::Wrong, |end| end.kind);
                self.put(piece.name, Err(Absent { kind, why: why.to_owned() }));
                continue;
            }
            let (name, measured) = measured(piece, taken.jailed);
            self.put(name, Ok(measured));
        }
        for (name, why) in taken.absent {
            self.put(name, Err(Absent::lacking(why)));
        }
        self.end = taken.end.or(self.end.take());
    }

    /// Takes in what only observed rounds say.
    pub(crate) fn take_shares(&mut self, taken: Taken) {
        for piece in taken.pieces {
            self.put_shares(&piece.name, piece.shares);
        }
    }

    fn put_shares(&mut self, name: &str, shares: Option<Shares>) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name)
            && let Ok(measured) = &mut row.found
        {
            measured.shares = shares;
        }
    }

    fn put(&mut self, name: String, found: Result<Measured, Absent>) {
        let has_room = self.rows.len() < ROWS_MAX;
        let known = self.rows.iter_mut().find(|row| row.name == name);
        match (known, found) {
            (None, found) if has_room => {
                self.rows.push(Measurement { name, found });
            }
            (None, _) => {}
            (Some(row), Ok(more)) => {
                if let Ok(measured) = &mut row.found {
                    measured.rounds.extend(more.rounds);
                }
            }
            (Some(row), Err(absent)) => row.found = Err(absent),
        }
    }

    /// The rows that it comes to.
    pub(crate) fn rows(self) -> Vec<Row> {
        let (what, image, name) = match &self.subject {
            Subject::Row(name) => {
                let what = rows::find(name).map_or("", |it| it.what());
                (what.to_owned(), None, name.clone())
            }
            Subject::Image { path, .. } => {
                let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
                let image = path.to_string_lossy().into_owned();
                ("what a guest measures by itself".to_owned(), Some(image), name.into_owned())
            }
        };
        let ring = self.ring;
        let row =
            |name, finding| Row { name, what: what.clone(), ring, image: image.clone(), finding };
        if let (Subject::Row(_), Some(absent)) = (&self.subject, &self.absent) {
            return vec![row(name, Finding::Absent(absent.clone()))];
        }
        let found =
            |it: Result<Measured, Absent>| it.map_or_else(Finding::Absent, Finding::Measured);
        let mut all: Vec<Row> =
            self.rows.into_iter().map(|it| row(it.name, found(it.found))).collect();
        match (self.absent, all.is_empty()) {
            (Some(absent), _) => all.push(row(name, Finding::Absent(absent))),
            (None, true) => {
                let nothing = || Absent::wrong("its guest measures nothing (guest::measure)");
                let finding = match (&self.subject, self.end) {
                    (Subject::Row(_), _) => Finding::NotReached,
                    (Subject::Image { .. }, end) => Finding::Absent(end.unwrap_or_else(nothing)),
                };
                all.push(row(name, finding));
            }
            // It ended badly behind a measurement that was complete.
            (None, false) => {
                let end = self.end.filter(|_| all.iter().all(|row| row.measured().is_some()));
                all.extend(end.map(|end| row(name, Finding::Absent(end))));
            }
        }
        all
    }
}

fn measured(piece: Piece, jailed: bool) -> (String, Measured) {
    let measured = Measured {
        rounds: vec![piece.samples],
        operations: piece.operations,
        warm_up: piece.warm_up,
        jailed,
        clock: piece.clock,
        timer: piece.timer,
        instructions: piece.instructions,
        shares: piece.shares,
    };
    (piece.name, measured)
}
