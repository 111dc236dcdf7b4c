//! The threads, and what they do with their VMs.

use crate::canary::Canary;
use crate::fate::Fate;
use crate::random::Random;
use portcall::{End, Image, Kvm, Ring, Stop, Stopper, Vm};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// A guest program.
pub(crate) struct Guest<'a> {
    pub(crate) name: String,
    pub(crate) image: Image<'a>,
}

/// A guest's name, its ring, and the name of an end.
type Ending = (String, u8, &'static str);

/// What came of the VMs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ends: BTreeMap<Ending, u64>,
    dropped: u64,
}

impl Tally {
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&Ending, u64)> {
        self.ends.iter().map(|(ending, count)| (ending, *count))
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn vms(&self) -> u64 {
        self.dropped + self.ends.values().sum::<u64>()
    }

    /// Whether each guest has one end of its own in each ring, in all its runs.
    pub(crate) fn agreed(&self) -> Result<(), String> {
        let mut own: BTreeMap<(&str, u8), &str> = BTreeMap::new();
        for ((name, ring, end), _) in self.ends() {
            // These two come from outside.
            if matches!(*end, "stopped" | "limit-reached") {
                continue;
            }
            let known = own.entry((name, *ring)).or_insert(end);
            if known != end {
                return Err(format!("{name} in ring {ring} ended as {known} and as {end}"));
            }
        }
        Ok(())
    }

    fn add(&mut self, ending: Option<Ending>) {
        match ending {
            Some(ending) => *self.ends.entry(ending).or_default() += 1,
            None => self.dropped += 1,
        }
    }
}

/// Runs so many VMs from so many threads, each with another that stops what it is given.
pub(crate) fn run(
    kvm: &Kvm,
    guests: &[Guest<'_>],
    vms: u64,
    threads: u64,
    seed: u64,
) -> Result<Tally, String> {
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    thread::scope(|scope| {
        let worker = || {
            let (to_stop, stoppers) = channel();
            scope.spawn(|| stop_all(stoppers));
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= vms {
                    return Ok(());
                }
                let plan = plan(guests.len(), number, seed);
                let ending = one(kvm, &guests[plan.guest], plan, &to_stop)?;
                tally.lock().map_err(|_| "another thread panicked")?.add(ending);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|it| it.join().map_err(|_| "a thread panicked")?)
    })
    .map_err(|error: String| error)?;
    tally.into_inner().map_err(|_| "a thread panicked".to_owned())
}

/// Stops what it is given, each after its time.
fn stop_all(stoppers: Receiver<(Stopper, Duration)>) {
    for (stopper, after) in stoppers {
        thread::sleep(after);
        stopper.stop();
    }
}

/// What is to become of which guest.
#[derive(Clone, Copy, Debug)]
struct Plan {
    guest: usize,
    ring: Ring,
    fate: Fate,
}

/// First each guest in each ring for as long as it may; then by chance.
fn plan(guests: usize, number: u64, seed: u64) -> Plan {
    let rings = [Ring::Zero, Ring::Three];
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    if index / 2 < guests {
        return Plan { guest: index / 2, ring: rings[index % 2], fate: Fate::LONG };
    }
    // Of its own, so that a failure comes again with the same seed.
    let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
    let mut one_of = |count: usize| {
        let index = random.within(0..count as u64);
        usize::try_from(index).unwrap_or(0)
    };
    let (guest, ring) = (one_of(guests), rings[one_of(2)]);
    Plan { guest, ring, fate: Fate::draw(&mut random) }
}

/// One VM, from its making to its end; `None` if it was dropped before that.
fn one(
    kvm: &Kvm,
    guest: &Guest<'_>,
    Plan { ring, fate, .. }: Plan,
    to_stop: &Sender<(Stopper, Duration)>,
) -> Result<Option<Ending>, String> {
    let about = |what: &str| format!("{} in {ring:?}, {fate:?}: {what}", guest.name);

    let mut builder = Vm::builder(kvm, &guest.image).ring(ring);
    for limit in fate.limits() {
        builder = builder.limit(limit);
    }
    let mut vm = builder.build().map_err(|error| about(&error.to_string()))?;
    let canary = Canary::around(&vm)?;
    let end = match fate {
        Fate::Runs(_) => Some(vm.run()),
        Fate::Stopped(after) => {
            to_stop.send((vm.stopper(), after)).map_err(|_| "nobody stops anything")?;
            Some(vm.run())
        }
        Fate::Dropped(steps) => {
            step(&mut vm, steps).map_err(|error| about(&error.to_string()))?;
            None
        }
    };
    if !canary.taken_down()? {
        return Err(about("the memory around the guest's was changed"));
    }
    let Some(outcome) = end else { return Ok(None) };
    let end = outcome.map_err(|error| about(&error.to_string()))?.end;
    if let End::LimitReached(limit) = end
        && !fate.limits().contains(&limit)
    {
        return Err(about(&format!("it had no such limit: {limit}")));
    }
    Ok(Some((guest.name.clone(), if ring == Ring::Zero { 0 } else { 3 }, end.name())))
}

/// So many steps, or up to the end.
fn step(vm: &mut Vm, steps: u64) -> Result<(), portcall::Error> {
    for _ in 0..steps {
        if let Stop::End(_) = vm.step()? {
            break;
        }
    }
    Ok(())
}
