//! RDTSC, the guests' clock.

use super::Mechanism;

pub(super) struct Rdtsc;

impl Mechanism for Rdtsc {
    fn name(&self) -> &'static str {
        "rdtsc"
    }

    fn what(&self) -> &'static str {
        "RDTSC: a further reading of the clock that measures"
    }
}
