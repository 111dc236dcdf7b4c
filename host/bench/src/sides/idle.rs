//! What a VM that has run and stays costs its process: resident memory, without the guest's own.

use super::{Sample, Whose, words};
use crate::{guests, naive};
use portcall::{Image, Kvm, Ring, Vm};

/// KiB of the one page that the guest touches: its code. It has no data and uses no stack.
const TOUCHED: f64 = 4.0;

/// VMs before the first that counts: allocators and libraries take what they take once.
const WARM_UP: u32 = 4;

pub(super) fn play(whose: Whose, vms: u32) -> Result<(), String> {
    let code = guests::minimal();
    let grown = match whose {
        Whose::Ours => {
            let kvm = Kvm::open().map_err(words)?;
            let image = Image::flat(&code).map_err(words)?;
            growth(vms, || {
                let mut vm = Vm::builder(&kvm, &image).build().map_err(words)?;
                vm.run().map_err(words)?;
                Ok(vm)
            })
        }
        Whose::Bare => {
            let kvm = naive::Kvm::open();
            growth(vms, || {
                let mut vm = naive::Vm::create(&kvm, &code, Ring::Zero);
                vm.run();
                Ok(vm)
            })
        }
    }?;
    Sample { value: grown / f64::from(vms) - TOUCHED, instructions: None }.say()
}

/// KiB that `vms` of them add.
fn growth<T>(vms: u32, mut make: impl FnMut() -> Result<T, String>) -> Result<f64, String> {
    let mut kept = Vec::with_capacity((WARM_UP + vms) as usize);
    for _ in 0..WARM_UP {
        kept.push(make()?);
    }
    let before = resident()?;
    for _ in 0..vms {
        kept.push(make()?);
    }
    Ok(resident()? - before)
}

/// KiB of this process that are resident, exactly: VmRSS may be off by some pages a processor
/// (proc(5)).
fn resident() -> Result<f64, String> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").map_err(words)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| "/proc/self/smaps_rollup has no Rss".to_owned())
}
