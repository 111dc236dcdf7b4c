//! Which KVM the kernel has.

use std::path::Path;

/// The kinds of KVM there are on x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvmKind {
    /// On Intel's VMX.
    Vmx,
    /// On AMD's SVM.
    Svm,
    /// Without hardware virtualization: ring 0 is emulated.
    Pvm,
    /// None that is known here.
    Unknown,
}

impl KvmKind {
    /// Looks which module the kernel has loaded (or built in).
    #[must_use]
    pub fn detect() -> Self {
        Self::among(Path::new("/sys/module"))
    }

    /// As [`detect`](Self::detect), with the directory of modules named.
    #[must_use]
    pub fn among(modules: &Path) -> Self {
        let known = [("kvm_intel", Self::Vmx), ("kvm_amd", Self::Svm), ("kvm_pvm", Self::Pvm)];
        let found = known.into_iter().find(|(module, _)| modules.join(module).exists());
        found.map_or(Self::Unknown, |(_, kind)| kind)
    }

    /// What it is and what that means for guests, in a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Vmx => "kvm_intel: KVM on VMX; guests run natively in every ring",
            Self::Svm => "kvm_amd: KVM on SVM; guests run natively in every ring",
            Self::Pvm => {
                "kvm_pvm: KVM without hardware help; ring 0 is emulated, about 1 us an instruction \
                 and without SSE, ring 3 runs natively: --ring 3 pays from about 30 instructions \
                 between exits"
            }
            Self::Unknown => {
                "KVM of an unknown kind: no kvm_intel, kvm_amd or kvm_pvm in /sys/module"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KvmKind;
    use std::path::Path;

    #[test]
    fn without_a_known_module_nothing_is_claimed() {
        assert_eq!(KvmKind::among(Path::new("/nonexistent")), KvmKind::Unknown);
    }
}
