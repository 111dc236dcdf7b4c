//! VMs lent by a pool that has one ready. Without the jail, in which no VM can be built.

use super::{Sample, emulated, emulated_since, words};
use crate::guests;
use measures::statistics::Summary;
use pool::{Pool, Size, Wait};
use portcall::sys::KvmStats;
use portcall::{End, Image, Kvm, Vm};
use std::time::Instant;

/// Leases before the first that counts.
const WARM_UP: u32 = 100;

/// Leases that count.
const LEASES: u32 = 320;

/// Microseconds of a lease with a run to the first exit; or of the hand-out alone.
pub(super) fn play(hand_out: bool) -> Result<(), String> {
    let kvm = Kvm::open().map_err(words)?;
    let code = guests::minimal();
    let image = Image::flat(&code).map_err(words)?;
    let fresh = Vm::builder(&kvm, &image).build().and_then(|mut vm| vm.snapshot());
    let size = Size { ready: 1, most: 1 };
    let pool = Pool::new(kvm, fresh.map_err(words)?, size, |vm| vm).map_err(words)?;
    // There is but one VM, so that this counts all of them.
    let lease = pool.take(Wait::Never).map_err(words)?;
    let stats = KvmStats::open(lease.vcpu_fd()).ok();
    drop(lease);
    for _ in 0..WARM_UP {
        lease_of(&pool, hand_out)?;
    }
    let before = emulated(stats.as_ref());
    let times = (0..LEASES).map(|_| lease_of(&pool, hand_out)).collect::<Result<Vec<_>, _>>()?;
    let instructions = emulated_since(before, stats.as_ref(), LEASES);
    if pool.counts().made != 1 {
        return Err("the pool did not keep its VM".to_owned());
    }
    let value = Summary::of(&times).ok_or("nothing was lent")?.median;
    Sample { value, instructions }.say()
}

fn lease_of(pool: &Pool, hand_out: bool) -> Result<f64, String> {
    let start = Instant::now();
    let mut vm = pool.take(Wait::Never).map_err(words)?;
    let taken = start.elapsed();
    let end = vm.run().map_err(words)?.end;
    vm.give_back().map_err(words)?;
    let time = if hand_out { taken } else { start.elapsed() };
    if end == End::Exited(0) { Ok(time.as_secs_f64() * 1e6) } else { Err(words(end)) }
}
