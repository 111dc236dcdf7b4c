//! CPUID, which KVM answers.

use super::Mechanism;

pub(super) struct Cpuid;

impl Mechanism for Cpuid {
    fn name(&self) -> &'static str {
        "cpuid"
    }

    fn what(&self) -> &'static str {
        "CPUID: into KVM and back, never to its user space"
    }
}
