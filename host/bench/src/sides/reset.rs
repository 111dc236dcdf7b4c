//! A VM that goes back to its snapshot between two runs, beside one that does not. Without the
//! jail, in which no VM can be built.

use super::{Sample, emulated, emulated_since, words};
use crate::guests;
use measures::statistics::Summary;
use portcall::restore::Effort;
use portcall::sys::KvmStats;
use portcall::{End, Exit, Guest, Image, Kvm, Ports, Ring, Snapshot, Stop, Vm};
use std::time::Instant;

/// Pages that the guest writes to in a run.
const PAGES: u32 = 16;

/// Runs before the first that counts: KVM's log of written pages is begun by then.
const WARM_UP: u32 = 100;

/// Runs that count. The log is begun afresh each 64 of them.
const RUNS: u32 = 320;

/// Takes what a guest writes to the port of its round.
struct Round;

impl Ports for Round {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
        Ok(())
    }
}

pub(super) fn play(ring: Ring, restores: bool) -> Result<(), String> {
    let kvm = Kvm::open().map_err(words)?;
    let code = guests::toucher_in_rounds(PAGES);
    let image = Image::flat(&code).map_err(words)?;
    let ports = guests::ROUND..=guests::ROUND;
    let builder = Vm::builder(&kvm, &image).ring(ring).ports(ports, Round);
    let mut vm = builder.build().map_err(words)?;
    let fresh = if restores { Some(vm.snapshot().map_err(words)?) } else { None };
    let stats = KvmStats::open(vm.vcpu_fd()).ok();
    if let Some(fresh) = &fresh {
        vm.restore(fresh).map_err(words)?;
    }
    for _ in 0..WARM_UP {
        turn(&mut vm, fresh.as_ref())?;
    }
    let before = emulated(stats.as_ref());
    let times = (0..RUNS).map(|_| turn(&mut vm, fresh.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let instructions = emulated_since(before, stats.as_ref(), RUNS);
    let value = Summary::of(&times).ok_or("nothing ran")?.median;
    Sample { value, instructions }.say()
}

/// Microseconds of a run up to its exit, and of the way back.
fn turn(vm: &mut Vm, fresh: Option<&Snapshot>) -> Result<f64, String> {
    let start = Instant::now();
    let stop = vm.step().map_err(words)?;
    let effort = fresh.map(|fresh| vm.restore(fresh)).transpose().map_err(words)?;
    let time = start.elapsed().as_secs_f64() * 1e6;
    if !matches!(&stop, Stop::Exit(Exit::Io(io)) if io.port == guests::ROUND) {
        return Err(format!("the guest did something else: {stop:?}"));
    }
    match effort {
        Some(Effort::Touched { pages }) if pages < PAGES as usize => {
            Err(format!("only {pages} pages were put back"))
        }
        Some(Effort::All) => Err("all of the VM was put back".to_owned()),
        _ => Ok(time),
    }
}
