//! A call of the host's into the guest `calc`, in the jail.

use super::{Sample, asked, emulated, emulated_since, enter_jail, words};
use calls::calc;
use portcall::sys::KvmStats;
use portcall::{Image, Kvm, Ring, Vm};
use std::path::Path;
use std::time::Instant;

/// Calls of a round; fewer than of the guest's, since they take longer.
const CALLS: u32 = 25;

/// What is sent and comes back.
const TEXT: &str = "twenty bytes of text";

pub(super) fn play(text: bool, ring: Ring, image: &Path) -> Result<(), String> {
    let bytes = std::fs::read(image).map_err(words)?;
    let image = Image::parse(&bytes).map_err(words)?;
    let kvm = Kvm::open().map_err(words)?;
    let mut vm = Vm::builder(&kvm, &image).ring(ring).build().map_err(words)?;
    let stats = KvmStats::open(vm.vcpu_fd()).ok();
    enter_jail()?;
    while asked() {
        let mut calc = calc::Client(vm.door());
        let before = emulated(stats.as_ref());
        let start = Instant::now();
        for _ in 0..CALLS {
            let right = if text {
                calc.echo(TEXT).map_err(words)? == TEXT
            } else {
                calc.add(2, 3).map_err(words)? == 5
            };
            if !right {
                return Err("the guest's answer is wrong".to_owned());
            }
        }
        let value = start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS);
        let instructions = emulated_since(before, stats.as_ref(), CALLS);
        Sample { value, instructions }.say()?;
    }
    Ok(())
}
