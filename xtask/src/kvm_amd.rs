//! `cargo xtask test --kvm-amd`: the guests on the KVM of processors with SVM, where they must end
//! as they do on any other but for the differences listed in this file.

use crate::Failure;
use crate::cargo::{build_test, has_static_libc, root};
use crate::directives::{Directives, Wrong};
use crate::engine::{self, Case, Image, Verdict};
use crate::machine::{Job, Machine, PATIENCE};
use crate::packages::{Packages, files_below};
use crate::process::Ran;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A guest that ends otherwise on kvm_amd, and how: this is as much of a test as its header.
struct Difference {
    /// The case's name.
    label: &'static str,
    /// Why that is so, for whoever reads the results.
    why: &'static str,
    /// Directives in place of its own `expect` and `stderr`.
    instead: &'static str,
}

/// What is left of a triple fault there.
const RESET: &str = "//@ stderr: this KVM resets the vCPU at a triple fault\n\
                     //@ expect: exit=139 end=triple-fault\n";

/// All of them. What is not run there, and so nowhere: LTR of selector 0, at which QEMU's own SVM
/// aborts (guest/hostile/examples/descriptors.rs).
const DIFFERENCES: [Difference; 8] = [
    Difference {
        label: "hostile cr3",
        why: "CR3 outside of memory makes the processor fault for ever, where kvm_pvm gives up",
        instead: "//@ timeout: 300ms\n\
                  //@ stderr: CR3 0x800000000, which is not RAM\n\
                  //@ expect: exit=124 end=limit-reached\n",
    },
    Difference {
        label: "hostile cli-ring-3",
        why: "CLI is for ring 3 as well where the I/O privilege level is 3, which kvm_pvm leaves out",
        instead: "//@ expect: exit=0 end=halted\n",
    },
    Difference {
        label: "hostile over-ours",
        why: "kvm_amd resets a vCPU at a triple fault, so that its cause cannot be told",
        instead: RESET,
    },
    Difference {
        label: "hostile own-stacks",
        why: "kvm_amd resets a vCPU at a triple fault, so that its cause cannot be told",
        instead: RESET,
    },
    Difference {
        label: "hostile triple-fault",
        why: "kvm_amd resets a vCPU at a triple fault, so that its cause cannot be told",
        instead: RESET,
    },
    Difference {
        label: "hostile unemulated",
        why: "the processor runs ring 0 itself, where kvm_pvm has to emulate it",
        instead: "//@ expect: exit=0 end=exited\n",
    },
    Difference {
        label: "hostile vmcall-patched",
        why: "kvm_amd answers the call that it has written over the other, where kvm_pvm hangs",
        instead: "//@ expect: exit=0 end=exited\n",
    },
    Difference {
        label: "hostile vmmcall",
        why: "VMMCALL is the processor's own there, so that KVM answers it and need not write it",
        instead: "//@ expect: exit=0 end=exited\n",
    },
];

impl Difference {
    /// The case, expected to end as it does there.
    fn apply(&self, case: &mut Case) -> Result<(), Failure> {
        let wrong = |Wrong { message, .. }| Failure(format!("{}: {message}", self.label));
        let instead = Directives::parse(self.instead).map_err(wrong)?;
        case.directives.expect = instead.expect;
        case.directives.stderr = instead.stderr;
        case.directives.timeout = instead.timeout.or(case.directives.timeout.take());
        case.differs = Some(self.why);
        Ok(())
    }
}

/// A file of tests of a library: its package, and what it is called.
pub(crate) type Tests = (&'static str, &'static str);

/// Those that are run there as well.
const LIBRARY: [Tests; 6] = [
    ("portcall", "leftovers"),
    ("portcall", "mmio"),
    ("portcall", "msrs"),
    ("portcall", "snapshot"),
    ("portcall", "trap"),
    // What debugger and coverage stand on: traps and steps are another thing on each KVM.
    ("portcall-inspect", "drive"),
];

/// Those of them that are chosen, as they are called among the results.
pub(crate) fn library(chosen: impl Fn(&str) -> bool) -> Vec<(String, Tests)> {
    let all = LIBRARY.into_iter().map(|tests| (format!("library {}", tests.1), tests));
    all.filter(|(label, _)| chosen(label)).collect()
}

/// Whether this machine's own KVM is kvm_amd: then guests end here as they do there.
pub(crate) fn is_here() -> bool {
    let loaded = |module| Path::new("/sys/module").join(module).exists();
    loaded("kvm_amd") && !loaded("kvm_pvm")
}

/// Makes cases expect what is listed above.
pub(crate) fn expect_differences(cases: &mut [Case]) -> Result<(), Failure> {
    for case in cases {
        if let Some(difference) = DIFFERENCES.iter().find(|it| it.label == case.label) {
            difference.apply(case)?;
        }
    }
    Ok(())
}

/// Runs the cases in QEMU, then tests of the library, and hands on each verdict in their order.
/// `hosts` are the programs that run the cases, by the name of their host half.
pub(crate) fn run_all(
    cases: &[Case],
    hosts: &BTreeMap<Option<String>, PathBuf>,
    library: &[(String, Tests)],
    mut each: impl FnMut(&str, Verdict),
) -> Result<(), Failure> {
    if !has_static_libc() {
        return Err(Failure::new(
            "--kvm-amd needs a static C library, since portcall must run there alone; install \
             libc6-dev",
        ));
    }
    let packages = Packages::get()?;
    let mut files = sources()?;
    let (mut unbuilt, mut jobs) = (Vec::new(), Vec::new());
    for case in cases {
        let verdict = engine::build(case)?;
        if verdict.is_none() {
            let command = engine::command(case, &hosts[&case.half], PATIENCE, None)?;
            jobs.push(Job { command, input: case.directives.stdin.clone() });
            files.push(case.image.path().to_owned());
            if let Image::Source { file, .. } = &case.image {
                files.push(file.clone());
            }
        }
        unbuilt.push(verdict);
    }
    for (_, (package, name)) in library {
        let mut command = Command::new(build_test(package, name)?);
        command.args(["--test-threads=1"]).current_dir("/tmp");
        jobs.push(Job { command, input: Vec::new() });
    }
    if jobs.is_empty() {
        return Err(Failure::new("none of these guests builds here, so there is nothing to run"));
    }
    crate::out!("\nrunning {} guests on kvm_amd", cases.len());
    let mut machine = Machine::boot(&packages, &jobs, &files)?;
    for (case, unbuilt) in cases.iter().zip(unbuilt) {
        each(&case.label, unbuilt.unwrap_or_else(|| verdict(case, &mut machine)));
    }
    for (label, _) in library {
        let verdict = machine.next().map(|ran| tested(&ran));
        each(label, verdict.unwrap_or_else(|Failure(message)| Verdict::Failed(message + "\n")));
    }
    Ok(())
}

/// What came of a program of tests, which says itself what failed.
fn tested(ran: &Ran) -> Verdict {
    if ran.code == Some(0) {
        return Verdict::Passed;
    }
    let code = ran.code.map_or("killed at its deadline".to_owned(), |it| format!("code {it}"));
    let said = [&ran.stdout[..], &ran.stderr[..]].concat();
    Verdict::Failed(format!("{code}\n{}", String::from_utf8_lossy(&said)))
}

/// Has one guest run, and judges it.
fn verdict(case: &Case, machine: &mut Machine) -> Verdict {
    let verdict = machine.next().and_then(|ran| engine::judge(case, &ran, false));
    verdict.unwrap_or_else(|Failure(message)| Verdict::Failed(message + "\n"))
}

/// The guests' sources, which an end's explanation shows lines of.
fn sources() -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    files_below(&root().join("guest"), &mut files)?;
    files.retain(|it| it.extension().is_some_and(|it| it == "rs" || it == "c"));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs;

    #[test]
    fn each_difference_is_of_a_guest_and_expects_something() {
        let programs = programs::all().expect("the headers are well-formed");
        for difference in DIFFERENCES {
            let name = difference.label.trim_end_matches(" (ring 3)");
            let is_it = |it: &programs::Program| format!("{} {}", it.kind, it.name) == name;
            assert!(programs.iter().any(is_it), "{name}");
            let instead = Directives::parse(difference.instead).expect("directives");
            assert!(!instead.expect.is_empty(), "{name}");
        }
    }
}
