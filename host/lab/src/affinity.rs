//! Which processors threads run on (sched_setaffinity(2)).

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::sync::OnceLock;

/// The processor that the VM's thread is pinned to, and all that there were before.
static PINNED: OnceLock<(usize, Vec<usize>)> = OnceLock::new();

/// The processors that this process may use; before it was pinned.
pub(crate) fn all() -> Result<Vec<usize>, String> {
    if let Some((_, all)) = PINNED.get() {
        return Ok(all.clone());
    }
    let set = sched_getaffinity(Pid::from_raw(0));
    let set = set.map_err(|error| format!("cannot ask for this process's processors: {error}"))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Whether this process may use that processor; why not.
pub(crate) fn check(cpu: usize) -> Result<(), String> {
    let all = all()?;
    if all.contains(&cpu) {
        return Ok(());
    }
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    Err(format!("processor {cpu} is not one that this process may use: {}", all.join(", ")))
}

/// Has this thread, and those that it starts, run on one processor.
pub(crate) fn pin(cpu: usize) -> Result<(), String> {
    check(cpu)?;
    let all = all()?;
    run_on(&[cpu])?;
    // There is one order a process.
    let _ = PINNED.set((cpu, all));
    Ok(())
}

/// Has this thread run on the other processors, if its process is pinned and there are any.
pub(crate) fn leave() -> Result<(), String> {
    let Some((pinned, all)) = PINNED.get() else { return Ok(()) };
    let others: Vec<usize> = all.iter().copied().filter(|cpu| cpu != pinned).collect();
    if others.is_empty() { Ok(()) } else { run_on(&others) }
}

fn run_on(cpus: &[usize]) -> Result<(), String> {
    let mut set = CpuSet::new();
    cpus.iter()
        .try_for_each(|cpu| set.set(*cpu))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| format!("cannot run on processors {cpus:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{all, check};

    #[test]
    fn only_processors_that_are_ours_can_be_had() {
        let first = all().expect("some")[0];
        assert_eq!(check(first), Ok(()));
        let why = check(usize::MAX).expect_err("there is none");
        assert!(why.contains("not one that this process may use: "), "{why}");
    }
}
