//! A call of the guest's: the same instructions, answered by the library or by a loop
//! of bare ioctls. The guest asks for its next round by an access to a port, so that one KVM_RUN
//! loop, and one process in the jail, does all of them.

use super::{Sample, asked, emulated, emulated_since, enter_jail, words};
use crate::{guests, naive};
use portcall::abi::calls::Interface;
use portcall::sys::KvmStats;
use portcall::{End, Guest, Image, Kvm, Ports, Ring, Vm};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

mod counter {
    portcall::abi::hypercalls! {
        /// A counter on the host.
        pub trait Counter {
            /// Adds to it; returns what it is then.
            fn add(&mut self, amount: u64) -> u64;
        }
    }
}

/// Calls of a round: enough to make nothing of what is between two rounds, and so few that on a busy
/// machine most rounds are not interrupted.
const CALLS: u32 = 100;

struct Count(u64);

impl counter::Counter for Count {
    fn add(&mut self, amount: u64) -> u64 {
        self.0 = self.0.wrapping_add(amount);
        self.0
    }
}

fn guest() -> Vec<u8> {
    const INTERFACE: Interface = counter::INTERFACE;
    guests::caller(INTERFACE.number(0), CALLS)
}

/// Between two rounds, for both sides alike.
#[derive(Default)]
struct Pace {
    stats: Arc<OnceLock<KvmStats>>,
    /// When a round began, and what had been emulated then.
    begun: Option<(Instant, Option<u64>)>,
}

impl Pace {
    /// Says what the round took, and waits for the next; false when there is none.
    fn turn(&mut self) -> bool {
        if let Some((start, before)) = self.begun {
            let value = start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS);
            let instructions = emulated_since(before, self.stats.get(), CALLS);
            if (Sample { value, instructions }).say().is_err() {
                return false;
            }
        }
        if !asked() {
            return false;
        }
        let before = emulated(self.stats.get());
        self.begun = Some((Instant::now(), before));
        true
    }
}

impl Ports for Pace {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
        if self.turn() { Ok(()) } else { Err(End::Stopped) }
    }
}

pub(super) fn ours(ring: Ring, jail: bool) -> Result<(), String> {
    let kvm = Kvm::open().map_err(words)?;
    let code = guest();
    let image = Image::flat(&code).map_err(words)?;
    let pace = Pace::default();
    let stats = Arc::clone(&pace.stats);
    let builder = Vm::builder(&kvm, &image).ring(ring).serve(counter::Server(Count(0)));
    let ports = guests::ROUND..=guests::ROUND;
    let mut vm = builder.ports(ports, pace).build().map_err(words)?;
    if let Ok(open) = KvmStats::open(vm.vcpu_fd()) {
        let _ = stats.set(open);
    }
    if jail {
        enter_jail()?;
    }
    let outcome = vm.run().map_err(words)?;
    let calls = outcome.stats.calls;
    // Whole rounds were made, and the counter is what they come to.
    let counted = outcome.registers.rax == guests::ARGUMENT * calls;
    if outcome.end == End::Stopped && calls.is_multiple_of(CALLS.into()) && (counted || calls == 0)
    {
        return Ok(());
    }
    Err(format!("{}: {calls} calls, rax {}", outcome.end, outcome.registers.rax))
}

pub(super) fn bare(ring: Ring) -> Result<(), String> {
    let kvm = naive::Kvm::open();
    let mut vm = naive::Vm::create(&kvm, &guest(), ring);
    vm.sync();
    let mut pace = Pace::default();
    if let Ok(open) = KvmStats::open(&vm) {
        let _ = pace.stats.set(open);
    }
    let mut count = 0_u64;
    loop {
        if vm.run().port != 0xf7 {
            if pace.turn() {
                continue;
            }
            return Ok(());
        }
        vm.answer(|regs| {
            count = count.wrapping_add(regs.rdi);
            regs.rax = count;
        });
    }
}
