//! Stops at random moments: before a run, in it, between its exits, behind it.

use crate::random::Random;
use portcall::{End, Image, Kvm, Limit, Ring, Vm};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Guests that never end: without an exit (jmp), with one after the other (out 0x80, al; jmp), and
/// with text (out 0xe9, al; jmp).
const GUESTS: [&[u8]; 3] = [&[0xeb, 0xfe], &[0xe6, 0x80, 0xeb, 0xfc], &[0xe6, 0xe9, 0xeb, 0xfc]];

/// A stop that got lost would end like this.
const LOST: Limit = Limit::Time(Duration::from_secs(20));

/// The latest moment, from the run's start on.
const LATEST: u64 = 400_000;

/// Stops so many VMs, from so many pairs of threads: one runs it, the other stops it.
pub(crate) fn run(kvm: &Kvm, stops: u64, pairs: u64, seed: u64) -> Result<(), String> {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let pair = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= stops {
                    return Ok(());
                }
                one(kvm, &mut Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number)))?;
            }
        };
        let pairs: Vec<_> = (0..pairs).map(|_| scope.spawn(pair)).collect();
        pairs
            .into_iter()
            .try_for_each(|it| it.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

fn one(kvm: &Kvm, random: &mut Random) -> Result<(), String> {
    let guest = GUESTS[usize::try_from(random.within(0..3)).unwrap_or(0)];
    let ring = if random.within(0..2) == 0 { Ring::Zero } else { Ring::Three };
    // Half of them close to the start, where states change.
    let latest = if random.within(0..2) == 0 { LATEST / 20 } else { LATEST };
    let after = Duration::from_nanos(random.within(0..latest));
    let say = |error: portcall::Error| error.to_string();
    let image = Image::flat(guest).map_err(|error| error.to_string())?;
    let vm = Vm::builder(kvm, &image).memory(2 << 20).ring(ring).limit(LOST).build();
    let mut vm = vm.map_err(say)?;
    let (stopper, start) = (vm.stopper(), Barrier::new(2));
    let end = thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            let begun = Instant::now();
            // Sleeping would be longer than most of these times.
            while begun.elapsed() < after {
                std::hint::spin_loop();
            }
            stopper.stop();
        });
        start.wait();
        Ok(vm.run().map_err(say)?.end)
    })
    .map_err(|error: String| error)?;
    // The same from then on.
    let again = vm.run().map_err(say)?.end;
    if (&end, &again) == (&End::Stopped, &End::Stopped) {
        return Ok(());
    }
    Err(format!("a VM that was stopped after {after:?} ended as {end}, and then as {again}"))
}
