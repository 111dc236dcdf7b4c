//! VMCALL, which KVM answers or not.

use super::{Mechanism, Row};
use inspect::KvmKind;
use portcall::Ring;
use std::time::Duration;

pub(super) const VMCALL: Row = Row {
    name: "vmcall",
    what: "VMCALL with a number that KVM does not know: into KVM and back, never to its user space",
    make: || Box::new(Vmcall),
};

struct Vmcall;

impl Mechanism for Vmcall {
    fn is_known_wrong(&self, kvm: KvmKind, ring: Ring) -> bool {
        // kvm_pvm has a general protection fault; others may not write VMMCALL over it in ring 3.
        ring == Ring::Three && kvm != KvmKind::Vmx
    }

    fn deadline(&self) -> Option<Duration> {
        // kvm_pvm never comes back from it. Elsewhere it takes some microseconds.
        Some(Duration::from_millis(500))
    }
}
