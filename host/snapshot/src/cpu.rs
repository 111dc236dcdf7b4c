//! Which processor a snapshot is of.

use serde::{Deserialize, Serialize};
use std::arch::x86_64::{__cpuid_count, CpuidResult};
use std::fmt;

/// A processor, as far as a guest's state depends on it (CPUID; SDM vol. 2, CPUID, tables 3-8 on).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cpu {
    /// `GenuineIntel`, `AuthenticAMD`, ... (leaf 0).
    pub vendor: String,
    /// The family, its extension added (leaf 1).
    pub family: u32,
    /// The model, with its extension.
    pub model: u32,
    /// The stepping.
    pub stepping: u32,
    /// Bytes of the extended state as the host's kernel has it (leaf 0Dh, EBX); 0 without XSAVE.
    pub xsave: u32,
    /// The features that XCR0 can have (leaf 0Dh, EDX and EAX).
    pub xcr0: u64,
}

#[allow(unused_unsafe, reason = "it is unsafe to Rust before 1.94")]
fn cpuid(leaf: u32, sub: u32) -> CpuidResult {
    // SAFETY: every x86-64 processor has the instruction, which reads no memory.
    unsafe { __cpuid_count(leaf, sub) }
}

impl Cpu {
    /// That of this machine.
    #[must_use]
    pub fn this() -> Self {
        let vendor = cpuid(0, 0);
        let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        let version = cpuid(1, 0).eax;
        let field = |shift: u32, bits: u32| (version >> shift) & ((1 << bits) - 1);
        let family = field(8, 4);
        let extended = matches!(family, 6 | 15);
        let state = if vendor.eax >= 0xd { cpuid(0xd, 0) } else { cpuid_of_nothing() };
        Self {
            vendor: String::from_utf8_lossy(name.as_flattened()).into_owned(),
            family: if family == 15 { family + field(20, 8) } else { family },
            model: field(4, 4) | if extended { field(16, 4) << 4 } else { 0 },
            stepping: field(0, 4),
            xsave: state.ebx,
            xcr0: u64::from(state.edx) << 32 | u64::from(state.eax),
        }
    }
}

const fn cpuid_of_nothing() -> CpuidResult {
    CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 }
}

/// In words. A file's vendor is anyone's text.
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vendor, family, model, stepping, xsave, xcr0 } = self;
        write!(
            f,
            "{} family {family}, model {model}, stepping {stepping} (extended state {xcr0:#x}, \
             {xsave} bytes)",
            vendor.escape_debug()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Cpu;

    #[test]
    fn it_is_the_one_that_the_kernel_shows() {
        let shown = std::fs::read_to_string("/proc/cpuinfo").expect("procfs");
        let value = |key: &str| {
            let line =
                shown.lines().find(|line| line.split(':').next().map(str::trim) == Some(key));
            line.expect(key).split(": ").nth(1).expect(key).to_owned()
        };
        let cpu = Cpu::this();
        assert_eq!(cpu.vendor, value("vendor_id"));
        assert_eq!(cpu.family.to_string(), value("cpu family"));
        assert_eq!(cpu.model.to_string(), value("model"));
        assert_eq!(cpu.stepping.to_string(), value("stepping"));
        assert_eq!(cpu, Cpu::this());
    }
}
