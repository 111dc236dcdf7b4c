//! A guest that is set up: the moment for a snapshot, and what makes its VMs differ.
//!
//! ```
//! use portcall::stock::Stock;
//! use portcall::{Image, Kvm, Vm, abi};
//!
//! // mov eax, NUMBER; mov edi, 0x8000; mov esi, 8; out 0xf7, eax; mov rax, [rdi]; hlt
//! let number = abi::host::INTERFACE.number(abi::host::INTERFACE.place("ready"));
//! let [a, b, c, d] = number.to_le_bytes();
//! let code = [
//!     0xb8, a, b, c, d, 0xbf, 0, 0x80, 0, 0, 0xbe, 8, 0, 0, 0, 0xe7, 0xf7, 0x48, 0x8b, 7, 0xf4,
//! ];
//! let image = Image::flat(&code)?;
//! let kvm = Kvm::open()?;
//! let mut vm = Vm::builder(&kvm, &image).memory(2 << 20).serve(Stock::new()).build()?;
//! vm.run_to_ready()?;
//! let ready = vm.snapshot()?;
//! let seed = vm.run()?.registers.rax;
//! let mut other = Vm::from_snapshot(&kvm, &ready).serve(Stock::new()).build()?;
//! assert!(other.reseed()?);
//! assert_ne!(other.run()?.registers.rax, seed);
//! # Ok::<(), portcall::Error>(())
//! ```

use crate::error::{Error, SnapshotError};
use crate::exit::ExitKind;
use crate::layout::Gpa;
use crate::outcome::{End, Stats};
use crate::stock::fill_with_random;
use crate::vm::{Stop, Vm};
use std::time::Duration;

/// A piece of guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub gpa: Gpa,
    /// Its bytes.
    pub size: u64,
}

/// What the stock interface keeps of a guest, and a snapshot with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Where the buffer of [`abi::host::Host::ready`] is, while the guest stands behind that call.
    pub(crate) seed: Option<Vec<Piece>>,
    /// Nanoseconds by the guest's clock when its VM was made: 0, but for one of a snapshot.
    began: u64,
    /// What its clock said last.
    pub(crate) told: u64,
    /// How many exits of each kind it had made when its VM's counts began.
    pub(crate) exits: Exits,
}

/// A number for each of [`ExitKind::ALL`].
pub type Exits = [u64; ExitKind::ALL.len()];

impl Kept {
    /// For a VM of a snapshot that has this.
    pub(crate) const fn of(seed: Option<Vec<Piece>>, told: u64, exits: Exits) -> Self {
        Self { seed, began: told, told, exits }
    }

    /// For a snapshot.
    pub(crate) fn now(&self, stats: &Stats) -> Self {
        let exits = ExitKind::ALL.map(|kind| self.exits_of(kind, stats));
        Self { exits, ..self.clone() }
    }

    /// How many exits of a kind the guest has made.
    pub(crate) fn exits_of(&self, kind: ExitKind, stats: &Stats) -> u64 {
        let of_kind = ExitKind::ALL.iter().zip(&self.exits).find(|(it, _)| **it == kind);
        of_kind.map_or(0, |(_, before)| *before).saturating_add(stats.exits_of(kind))
    }

    /// How many it has made, as [`Stats::exits`] counts them.
    pub(crate) fn exits(&self, stats: &Stats) -> u64 {
        let hosts = [ExitKind::Interrupted, ExitKind::Debug];
        let kinds = ExitKind::ALL.into_iter().filter(|kind| !hosts.contains(kind));
        kinds.fold(0, |sum, kind| sum.saturating_add(self.exits_of(kind, stats)))
    }

    /// What the guest's clock says, so long after its service was made: never less than before.
    pub(crate) fn clock(&mut self, since: Duration) -> u64 {
        let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.told = self.told.max(self.began.saturating_add(since));
        self.told
    }

    /// The guest runs on: from here on the buffer may be anything of its.
    pub(crate) fn goes_on(&mut self) {
        self.seed = None;
    }

    /// For another VM, whose clock begins where this one's was.
    pub(crate) fn for_another(&self) -> Self {
        Self::of(self.seed.clone(), self.told, self.exits)
    }

    /// Back to how it was then. The clock runs on, as the time stamp counter does.
    pub(crate) fn restore(&mut self, then: &Self) {
        self.seed.clone_from(&then.seed);
        self.told = self.told.max(then.told);
        self.exits = then.exits;
    }
}

impl Vm {
    /// Runs the guest up to where it has called [`ready`](abi::host::Host::ready) and was answered;
    /// `None` then: the moment for a [`snapshot`](Self::snapshot). If the run ends before, its end.
    ///
    /// It takes [`Stock`](crate::stock::Stock) to answer the call; a tape that plays a log answers
    /// it without saying so.
    ///
    /// # Errors
    /// The host failed.
    pub fn run_to_ready(&mut self) -> Result<Option<End>, Error> {
        loop {
            match self.step()? {
                Stop::End(end) => return Ok(Some(end)),
                Stop::Exit(_) if self.is_ready() => return Ok(None),
                Stop::Exit(_) | Stop::Interrupted => {}
            }
        }
    }

    /// Whether the guest stands right behind [`ready`](abi::host::Host::ready), for those who step.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.kept.seed.is_some()
    }

    /// Fills the buffer that the guest gave to [`ready`](abi::host::Host::ready) with bytes that no
    /// one can foresee, so that what it makes of them differs from that of all other VMs of the
    /// same snapshot. To be done in each, after it was made of the snapshot or restored to it, and
    /// before it runs.
    ///
    /// `false`, and nothing done, where the guest does not stand right behind that call: it never
    /// made it, or has gone on, and may use the memory for something else.
    ///
    /// # Errors
    /// The kernel gives no random bytes (getrandom(2)).
    pub fn reseed(&mut self) -> Result<bool, Error> {
        let Some(seed) = &self.kept.seed else { return Ok(false) };
        for piece in seed {
            // All of them together are no more than the most that a seed has.
            let mut bytes = vec![0; usize::try_from(piece.size).unwrap_or(0)];
            fill_with_random(&mut bytes).map_err(SnapshotError::Random)?;
            self.memory.write(piece.gpa, &bytes)?;
        }
        Ok(true)
    }
}
