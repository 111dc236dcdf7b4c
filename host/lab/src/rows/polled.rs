//! A thread of the host's that looks at the guest's memory all the time.

use super::call::Answers;
use super::helper::Helper;
use super::{Mechanism, Row};
use crate::affinity;
use crate::report::Absent;
use crate::stopwatch::{Stopwatch, Timed};
use calls::ways::{self, Server};
use jail::Jail;
use portcall::{Builder, Gpa, Vm};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes from a request to its answer.
const GAP: u64 = ways::GAP as u64;

pub(super) const POLLED: Row = Row {
    name: "polled",
    what: "a request in shared memory that a thread of the host's polls: no exit",
    make: || Box::new(Polled::default()),
};

#[derive(Default)]
struct Polled {
    helper: Option<Helper>,
    answers: Answers,
}

/// Doubles what stands at a guest-physical address, which comes by `address`, until it is told to
/// end. The guest's RAM is `size` bytes from `base` on.
fn poll(base: usize, size: u64, address: &AtomicU64, end: &AtomicBool) {
    let mut place = 0;
    while place == 0 && !end.load(Ordering::Acquire) {
        place = address.load(Ordering::Acquire);
        std::hint::spin_loop();
    }
    // An address is the guest's claim.
    let fits = place % 8 == 0 && place.checked_add(GAP + 8).is_some_and(|last| last <= size);
    if place == 0 || !fits {
        return;
    }
    #[expect(clippy::cast_possible_truncation, reason = "hosts are 64-bit")]
    let at = |place: u64| std::ptr::with_exposed_provenance_mut(base + place as usize);
    // SAFETY: aligned, inside the guest's RAM, which stays mapped until this thread is joined, and
    // which this process uses by atomic or volatile accesses alone.
    let asked = unsafe { AtomicU64::from_ptr(at(place)) };
    // SAFETY: as above.
    let answer = unsafe { AtomicU64::from_ptr(at(place + GAP)) };
    while !end.load(Ordering::Relaxed) {
        answer.store(asked.load(Ordering::Acquire).wrapping_mul(2), Ordering::Release);
        std::hint::spin_loop();
    }
}

impl Mechanism for Polled {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        builder.serve(Server(self.answers.clone()))
    }

    fn built(&mut self, vm: &mut Vm) -> Result<(), Absent> {
        if affinity::all().map_err(Absent::failed)?.len() < 2 {
            return Err(Absent::lacking("it needs a second processor, for the thread that polls"));
        }
        // Guest-physical memory begins at 0, and is in one piece up to the hole below 4 GiB.
        let base = vm.memory().host_address(Gpa(0)).and_then(|it| usize::try_from(it).ok());
        let base = base.ok_or_else(|| Absent::failed("the guest has no memory at 0"))?;
        let size = vm.layout().ram.first().map_or(0, |ram| ram.end);
        let address = Arc::clone(&self.answers.polled);
        self.helper = Some(Helper::start(move |end| poll(base, size, &address, end))?);
        Ok(())
    }

    fn jail(&self) -> Option<Jail> {
        Some(Jail::new().beside_threads())
    }

    fn has_instructions(&self) -> bool {
        false
    }

    fn most(&self) -> u32 {
        // Where the thread that polls has no processor of its own, each takes some time slices.
        200
    }

    fn drive(&mut self, vm: &mut Vm, _: &Stopwatch) -> Result<Option<Timed>, Absent> {
        // It ends with this, before the VM and its memory.
        let helper = self.helper.take();
        helper.iter().for_each(Helper::wake);
        let outcome = vm.run().map_err(Absent::of_error)?;
        Absent::unless_normal(&outcome.end).map(|()| None)
    }
}
