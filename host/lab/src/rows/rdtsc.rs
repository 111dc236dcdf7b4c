//! RDTSC, the guests' clock.

use super::{Mechanism, Row};

pub(super) const RDTSC: Row = Row {
    name: "rdtsc",
    what: "RDTSC: a further reading of the clock that measures",
    make: || Box::new(Rdtsc),
};

struct Rdtsc;

impl Mechanism for Rdtsc {}
