//! Stops at random moments: before a run, in it, between its exits, while the host waits for its
//! sink or its source, behind it.

use crate::random::Random;
use portcall::{Builder, End, Image, Kvm, Ring, Vm};
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Guests that never end: without an exit (jmp), with one after the other (out 0x80, al; jmp), with
/// text (out 0xe9, al; out 0xe8, al; jmp) and waiting for input (in eax, 0xea; jmp).
const GUESTS: [&[u8]; 4] = [
    &[0xeb, 0xfe],
    &[0xe6, 0x80, 0xeb, 0xfc],
    &[0xe6, 0xe9, 0xe6, 0xe8, 0xeb, 0xfa],
    &[0xe5, 0xea, 0xeb, 0xfc],
];

/// A stop that has not ended its VM by then is lost: there is no limit that would end it instead.
const LOST: Duration = Duration::from_secs(20);

/// The latest moment, from the run's start on.
const LATEST: u64 = 400_000;

/// Ends that block: a pipe that is full, and one that stays empty.
struct Stuck {
    sink: PipeWriter,
    source: PipeReader,
    _others: (PipeReader, PipeWriter),
}

impl Stuck {
    fn new() -> std::io::Result<Self> {
        let ((reader, mut sink), (source, writer)) = (pipe()?, pipe()?);
        // As much as a pipe holds (pipe(7)).
        sink.write_all(&[0; 65536])?;
        Ok(Self { sink, source, _others: (reader, writer) })
    }

    fn equip<'a>(&self, builder: Builder<'a>) -> std::io::Result<Builder<'a>> {
        Ok(builder.console(self.sink.try_clone()?).input(self.source.try_clone()?))
    }
}

/// Of the guest with text only one in so many is taken: the sink that takes nothing is given its
/// 200 ms for the last words, in which a hundred others are stopped.
const TEXT: usize = 2;
const RARE: u64 = 16;

/// Stops so many VMs, from so many pairs of threads: one runs it, the other stops it.
pub(crate) fn run(kvm: &Kvm, stops: u64, pairs: u64, seed: u64) -> Result<(), String> {
    let next = AtomicU64::new(0);
    let stuck = Stuck::new().map_err(|error| format!("no pipes: {error}"))?;
    thread::scope(|scope| {
        let pair = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= stops {
                    return Ok(());
                }
                let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
                one(kvm, &mut random, &stuck)?;
            }
        };
        let pairs: Vec<_> = (0..pairs).map(|_| scope.spawn(pair)).collect();
        pairs
            .into_iter()
            .try_for_each(|it| it.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

fn one(kvm: &Kvm, random: &mut Random, stuck: &Stuck) -> Result<(), String> {
    let mut guest = usize::try_from(random.within(0..GUESTS.len() as u64)).unwrap_or(0);
    if guest == TEXT && random.within(0..RARE) != 0 {
        guest = 0;
    }
    let ring = if random.within(0..2) == 0 { Ring::Zero } else { Ring::Three };
    // Half of them close to the start, where states change.
    let latest = if random.within(0..2) == 0 { LATEST / 20 } else { LATEST };
    let after = Duration::from_nanos(random.within(0..latest));
    let say = |error: portcall::Error| error.to_string();
    let image = Image::flat(GUESTS[guest]).map_err(|error| error.to_string())?;
    let builder = Vm::builder(kvm, &image).memory(2 << 20).ring(ring);
    let builder = stuck.equip(builder).map_err(|error| error.to_string())?;
    let mut vm = builder.build().map_err(say)?;
    let (stopper, start, (ended, has_ended)) = (vm.stopper(), Barrier::new(2), channel());
    let end = thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            let begun = Instant::now();
            // Sleeping would be longer than most of these times.
            while begun.elapsed() < after {
                std::hint::spin_loop();
            }
            stopper.stop();
            watch(has_ended, &format!("guest {guest} in {ring:?}, stopped after {after:?}"));
        });
        start.wait();
        let outcome = vm.run();
        // Nobody listens where nobody waits.
        let _ = ended.send(());
        Ok(outcome.map_err(say)?.end)
    })
    .map_err(|error: String| error)?;
    // The same from then on.
    let again = vm.run().map_err(say)?.end;
    if (&end, &again) == (&End::Stopped, &End::Stopped) {
        return Ok(());
    }
    Err(format!("a VM that was stopped after {after:?} ended as {end}, and then as {again}"))
}

/// Waits for the end. A VM that does not come to it holds its thread, so nothing but the end of the
/// process is left.
#[expect(clippy::needless_pass_by_value, reason = "a receiver is not shared")]
fn watch(has_ended: Receiver<()>, what: &str) {
    if has_ended.recv_timeout(LOST).is_err() {
        eprintln!("soak: a stop was lost: {what}");
        std::process::exit(1);
    }
}
