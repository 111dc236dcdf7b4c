//! What machine it is.

use crate::report::Machine;
use inspect::KvmKind;
use measures::machine::Machine as Load;
use portcall::Kvm;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Describes this machine, with how busy it was.
#[must_use]
pub fn describe(load: Load) -> Machine {
    Machine {
        cpu: cpu().unwrap_or_else(|| "unknown".to_owned()),
        processors: load.processors,
        memory: memory().unwrap_or(0),
        kernel: load.kernel.clone(),
        kvm: kvm(),
        hypervisor: hypervisor(),
        tsc_khz: tsc_khz(),
        clock_step: clock_step(),
        mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
        governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        load,
    }
}

/// What stands in a file of the kernel's, on one line.
fn word(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|it| !it.is_empty())
}

/// The value of the first line with that key (proc(5)).
fn value(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.trim() == key)?;
    Some(value.trim().to_owned())
}

fn cpu() -> Option<String> {
    value(&fs::read_to_string("/proc/cpuinfo").ok()?, "model name")
}

fn memory() -> Option<u64> {
    let total = value(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")?;
    Some(total.strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

fn kvm() -> String {
    match KvmKind::detect() {
        KvmKind::Vmx => "kvm_intel".to_owned(),
        KvmKind::Svm => "kvm_amd".to_owned(),
        KvmKind::Pvm => "kvm_pvm".to_owned(),
        KvmKind::Unknown => "unknown (no kvm_intel, kvm_amd or kvm_pvm in /sys/module)".to_owned(),
    }
}

/// By CPUID's leaf for hypervisors (Linux, Documentation/virt/kvm/x86/cpuid.rst), with what the
/// firmware calls the machine.
fn hypervisor() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    const PRESENT: u32 = 1 << 31;
    if __cpuid(1).ecx & PRESENT == 0 {
        return None;
    }
    let leaf = __cpuid(0x4000_0000);
    let bytes = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).concat();
    let signature: String =
        bytes.iter().filter(|it| it.is_ascii_graphic()).map(|it| char::from(*it)).collect();
    let firmware = ["sys_vendor", "product_name"];
    let firmware = firmware.iter().filter_map(|it| word(Path::new("/sys/class/dmi/id").join(it)));
    let parts: Vec<String> = firmware.chain((!signature.is_empty()).then_some(signature)).collect();
    Some(if parts.is_empty() { "one without a name".to_owned() } else { parts.join(" ") })
}

fn tsc_khz() -> Option<u32> {
    let kvm = Kvm::open().ok()?;
    let vm = kvm.fd().create_vm().ok()?;
    vm.create_vcpu(0).ok()?.get_tsc_khz().ok().filter(|khz| *khz > 0)
}

/// By the host's readings, which are the guests' clock as well.
fn clock_step() -> Option<f64> {
    const READINGS: usize = 2000;
    // SAFETY: every processor in 64-bit mode has RDTSC, and Linux leaves it to programs.
    let readings: Vec<u64> =
        (0..READINGS).map(|_| unsafe { std::arch::x86_64::_rdtsc() }).collect();
    let steps = readings.windows(2).map(|it| it[1].saturating_sub(it[0])).filter(|it| *it > 0);
    let mut steps: Vec<u64> = steps.collect();
    steps.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "some ticks")]
    let step = *steps.get(steps.len() / 2)? as f64;
    Some(step * 1e6 / f64::from(tsc_khz()?))
}

fn mitigations(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|it| Some((it.file_name().into_string().ok()?, word(it.path())?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_keys() {
        let text = "processor\t: 0\nmodel name\t: A B: C\nmodel name\t: D\n";
        assert_eq!(value(text, "model name").as_deref(), Some("A B: C"));
        assert_eq!(value(text, "MemTotal"), None);
    }

    #[test]
    fn this_machine_has_a_description() {
        let machine = describe(measures::machine::Watch::begin().end());
        assert_ne!(machine.cpu, "unknown");
        assert!(machine.memory > 0 && !machine.kernel.is_empty() && !machine.kvm.is_empty());
    }

    #[test]
    fn without_the_kernels_words_there_are_none() {
        assert!(mitigations(Path::new("/nonexistent")).is_empty());
    }
}
