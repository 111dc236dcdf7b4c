//! CPUID, which KVM answers.

use super::{Mechanism, Row};

pub(super) const CPUID: Row = Row {
    name: "cpuid",
    what: "CPUID: into KVM and back, never to its user space",
    make: || Box::new(Cpuid),
};

struct Cpuid;

impl Mechanism for Cpuid {}
