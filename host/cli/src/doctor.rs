//! `portcall doctor`: whether guests can run here, and what to do if not.

use crate::code::{self, Failure};
use anstyle::AnsiColor;
use inspect::KvmKind;
use portcall::kvm_ioctls::Cap;
use portcall::{End, Image, Kvm, Vm};
use std::fs;
use std::io::Write;
use std::time::Instant;

/// The KVM API version that all kernels since 2.6.22 have; KVM's documentation says to refuse
/// any other.
const API_VERSION: i32 = 12;

/// What Portcall uses of KVM, and for what.
const CAPABILITIES: [(Cap, &str); 3] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY: the guest's memory"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR: Intel's three pages"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT: limits, stops, Ctrl-C"),
];

enum Mark {
    Good,
    Note,
    Bad,
}

fn line(mark: &Mark, text: &str) -> Result<(), Failure> {
    let (sign, colour) = match mark {
        Mark::Good => ("ok  ", AnsiColor::Green),
        Mark::Note => ("note", AnsiColor::Yellow),
        Mark::Bad => ("FAIL", AnsiColor::Red),
    };
    let style = colour.on_default().bold();
    writeln!(anstream::stdout(), "{style}{sign}{style:#} {text}")
        .map_err(|error| Failure::writing("stdout", &error))
}

pub(crate) fn doctor() -> Result<u8, Failure> {
    for text in surroundings() {
        line(&Mark::Note, &text)?;
    }
    let kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(error) => {
            line(&Mark::Bad, &error.to_string())?;
            return Ok(code::OURS);
        }
    };
    line(&Mark::Good, "/dev/kvm can be opened")?;
    let version = kvm.fd().get_api_version();
    if version != API_VERSION {
        let text = format!("KVM API version {version}; {API_VERSION} is wanted: update the kernel");
        line(&Mark::Bad, &text)?;
        return Ok(code::OURS);
    }
    line(&Mark::Good, &format!("KVM API version {version}"))?;
    let mut missing = false;
    for (capability, text) in CAPABILITIES {
        if kvm.fd().check_extension_int(capability) > 0 {
            line(&Mark::Good, text)?;
        } else {
            missing = true;
            line(&Mark::Bad, &format!("{text}: missing; update the kernel"))?;
        }
    }
    line(&Mark::Good, KvmKind::detect().meaning())?;
    for (mark, text) in jail() {
        line(&mark, &text)?;
    }
    match trial(&kvm) {
        Ok(text) => line(&Mark::Good, &text)?,
        Err(text) => {
            line(&Mark::Bad, &text)?;
            return Ok(code::KVM_REFUSED);
        }
    }
    Ok(if missing { code::OURS } else { 0 })
}

/// What is special about this machine and bears on KVM.
fn surroundings() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut notes = Vec::new();
    if read("/proc/version").to_lowercase().contains("microsoft") {
        notes.push(
            "this is WSL: it needs WSL 2 and nestedVirtualization=true in .wslconfig's [wsl2]"
                .to_owned(),
        );
    }
    let cpu = read("/proc/cpuinfo");
    let flags = cpu.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|known| known == flag);
    if has("hypervisor") {
        notes.push(
            "this machine is itself a virtual machine: KVM here is nested, or without hardware help"
                .to_owned(),
        );
    }
    if !has("vmx") && !has("svm") {
        notes.push(
            "the processor shows neither VMX nor SVM: only a KVM without hardware help (kvm_pvm) \
             can work; on bare metal, enable virtualization in the firmware"
                .to_owned(),
        );
    }
    notes
}

/// What the kernel has for the jail.
fn jail() -> [(Mark, String); 2] {
    let support = ::jail::support();
    let seccomp = if support.seccomp {
        (Mark::Good, "seccomp: the jail keeps a run to the system calls that it needs".to_owned())
    } else {
        let text = "seccomp: missing; guests run with --no-jail only (CONFIG_SECCOMP_FILTER)";
        (Mark::Note, text.to_owned())
    };
    let landlock = match support.landlock {
        Some(version) => {
            (Mark::Good, format!("Landlock version {version}: the jail opens sources and nothing else"))
        }
        None => (
            Mark::Note,
            "no Landlock (Linux 5.13 has it; see lsm= of the kernel's command line): the jail opens \
             no file at all, so backtraces have no lines of source"
                .to_owned(),
        ),
    };
    [seccomp, landlock]
}

/// Runs a guest of two instructions.
fn trial(kvm: &Kvm) -> Result<String, String> {
    let start = Instant::now();
    // mov eax, 42; hlt
    let image = Image::flat(&[0xb8, 42, 0, 0, 0, 0xf4]).map_err(|error| error.to_string())?;
    let outcome = Vm::builder(kvm, &image)
        .build()
        .and_then(|mut vm| vm.run())
        .map_err(|error| format!("a trial guest cannot run: {error}"))?;
    let time = start.elapsed().as_micros();
    match (outcome.end, outcome.registers.rax) {
        (End::Halted, 42) => Ok(format!("a trial guest ran and was right, {time} us in all")),
        (end, rax) => Err(format!("a trial guest went wrong: {end}, rax {rax:#x}")),
    }
}
