//! VMs that are created, run to their first exit and dropped. Without the jail, in which no VM can
//! be built. Ours are made as by a caller that makes many: by `Kvm::for_many`.

use super::{Sample, Whose, words};
use crate::{guests, naive};
use measures::statistics::Summary;
use portcall::{End, Image, Kvm, Ring, Vm};
use std::time::Instant;

/// VMs before the first that counts.
const WARM_UP: u32 = 3;

/// VMs that may wait to be closed.
const PENDING: usize = 8;

pub(super) fn one_by_one(whose: Whose, vms: u32) -> Result<(), String> {
    let mut times = Vec::new();
    lives(whose, WARM_UP + vms, |time| times.push(time))?;
    let counted = times.split_off(WARM_UP as usize);
    let median = Summary::of(&counted).ok_or("no VM was made")?.median;
    Sample { value: median, instructions: None }.say()
}

pub(super) fn many(whose: Whose, vms: u32) -> Result<(), String> {
    lives(whose, vms, |_| ())
}

/// Tells the microseconds of each.
fn lives(whose: Whose, vms: u32, mut tell: impl FnMut(f64)) -> Result<(), String> {
    let code = guests::minimal();
    match whose {
        Whose::Ours => {
            let kvm = Kvm::open().and_then(|kvm| kvm.for_many(PENDING)).map_err(words)?;
            let image = Image::flat(&code).map_err(words)?;
            for _ in 0..vms {
                let start = Instant::now();
                let mut vm = Vm::builder(&kvm, &image).build().map_err(words)?;
                let end = vm.run().map_err(words)?.end;
                drop(vm);
                tell(start.elapsed().as_secs_f64() * 1e6);
                if end != End::Exited(0) {
                    return Err(words(end));
                }
            }
            kvm.drain();
        }
        Whose::Bare => {
            let kvm = naive::Kvm::open();
            for _ in 0..vms {
                let start = Instant::now();
                let mut vm = naive::Vm::create(&kvm, &code, Ring::Zero);
                let port = vm.run().port;
                let rax = vm.registers().rax;
                drop(vm);
                tell(start.elapsed().as_secs_f64() * 1e6);
                if (port, rax) != (0xf4, 0) {
                    return Err(format!("port {port:#x}, rax {rax}"));
                }
            }
        }
    }
    Ok(())
}
