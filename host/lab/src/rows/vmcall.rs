//! VMCALL, which KVM answers or not.

use super::Mechanism;
use inspect::KvmKind;
use portcall::Ring;
use std::time::Duration;

pub(super) struct Vmcall;

impl Mechanism for Vmcall {
    fn name(&self) -> &'static str {
        "vmcall"
    }

    fn what(&self) -> &'static str {
        "VMCALL with a number that KVM does not know: into KVM and back, never to its user space"
    }

    fn is_known_wrong(&self, kvm: KvmKind, ring: Ring) -> bool {
        // kvm_pvm has a general protection fault; others may not write VMMCALL over it in ring 3.
        ring == Ring::Three && kvm != KvmKind::Vmx
    }

    fn deadline(&self) -> Option<Duration> {
        // kvm_pvm never comes back from it. Elsewhere it takes some microseconds.
        Some(Duration::from_millis(500))
    }
}
