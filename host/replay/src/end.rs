//! How ends stand in a log.

use portcall::{End, Exception, Gpa, Gva, Limit, Place};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
#[serde(remote = "Gpa")]
pub(crate) struct GpaDef(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Gva")]
struct GvaDef(u64);

/// A whole End, for `#[serde(with)]`. An end that this version does not know cannot be written,
/// which is an error of the recording.
#[derive(Serialize, Deserialize)]
#[serde(remote = "End")]
#[non_exhaustive]
pub(crate) enum EndDef {
    Exited(u32),
    Halted,
    Panicked {
        message: String,
        #[serde(with = "place")]
        at: Option<Place>,
    },
    Exception(#[serde(with = "ExceptionDef")] Exception),
    TripleFault,
    UnmappedAccess {
        #[serde(with = "GpaDef")]
        gpa: Gpa,
        write: bool,
    },
    CallRefused {
        call: String,
        why: String,
    },
    Serving,
    HandlerFailed {
        message: String,
    },
    LimitReached(#[serde(with = "LimitDef")] Limit),
    Stopped,
    Diverged {
        expected: String,
        actual: String,
    },
    EmulationFailed {
        bytes: Vec<u8>,
    },
    InternalError {
        suberror: u32,
        data: Vec<u64>,
    },
    EntryFailed {
        reason: u64,
    },
    UnexpectedExit {
        reason: u32,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Limit")]
#[non_exhaustive]
enum LimitDef {
    Time(Duration),
    Exits(u64),
    Console(u64),
    Calls(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Exception")]
struct ExceptionDef {
    vector: u8,
    error_code: Option<u64>,
    #[serde(with = "GvaDef")]
    rip: Gva,
    cs: u16,
    rflags: u64,
    #[serde(with = "GvaDef")]
    rsp: Gva,
    ss: u16,
    #[serde(with = "optional_gva")]
    cr2: Option<Gva>,
}

mod optional_gva {
    use portcall::Gva;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(gva: &Option<Gva>, to: S) -> Result<S::Ok, S::Error> {
        gva.map(|gva| gva.0).serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Gva>, D::Error> {
        Ok(Option::deserialize(from)?.map(Gva))
    }
}

mod place {
    use portcall::Place;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Option<Place>, to: S) -> Result<S::Ok, S::Error> {
        at.as_ref().map(|at| (&at.file, at.line, at.column)).serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Place>, D::Error> {
        let at: Option<(String, u64, u64)> = Option::deserialize(from)?;
        Ok(at.map(|(file, line, column)| Place { file, line, column }))
    }
}
