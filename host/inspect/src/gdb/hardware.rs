//! Breakpoints and watchpoints of the processor's: DR0 to DR3 and DR7 (SDM vol. 3, 19.2), which KVM
//! has in KVM_SET_GUEST_DEBUG. Whether a KVM really does them is tried on a small guest, since the
//! ioctl succeeds everywhere: kvm_pvm does no watchpoints, and in ring 3 no breakpoints either.
//!
//! Where it does no watchpoint, writes are watched by steps: slow, and right.

use crate::drive::{Drive, HARDWARE, Pace, Turn};
use gdbstub::target::ext::breakpoints::WatchKind;
use portcall::{Error, Image, Kvm, Ring, Vm};

/// What this KVM stops at by itself, in a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ability {
    /// An instruction.
    pub execute: bool,
    /// An access to memory.
    pub watch: bool,
}

impl Ability {
    /// Tries it: two VMs of a few instructions. Not in the jail.
    ///
    /// # Errors
    /// There can be no VM.
    pub fn of(kvm: &Kvm, ring: Ring) -> Result<Self, Error> {
        // nop; mov [0x8000], eax; nop; out 0xf4, al
        let code = [0x90, 0x89, 0x04, 0x25, 0, 0x80, 0, 0, 0x90, 0xe6, 0xf4];
        let image = Image::flat(&code)?;
        let stops = |slot| -> Result<bool, Error> {
            let mut vm = Vm::builder(kvm, &image).memory(2 << 20).ring(ring).build()?;
            let mut drive = Drive::new(&mut vm, Vec::new());
            let mut slots = Slots::default();
            slots.0[0] = Some(slot);
            let is_set = drive.set_hardware(slots.addresses(), slots.control()).is_ok();
            Ok(is_set && matches!(drive.turn(Pace::Run)?, Turn::Hardware(1)))
        };
        let execute = stops(Slot::execute(image.entry().0 + 8))?;
        let watch = stops(Slot { at: 0x8000, size: 4, access: Access::Write })?;
        Ok(Self { execute, watch })
    }
}

/// What stops (SDM vol. 3, 19.2.4: R/Wn).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Execute = 0,
    Write = 1,
    ReadWrite = 3,
}

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) at: u64,
    /// 1, 2, 4 or 8 bytes; for an instruction 1.
    pub(super) size: u64,
    pub(super) access: Access,
}

impl Slot {
    pub(super) const fn execute(at: u64) -> Self {
        Self { at, size: 1, access: Access::Execute }
    }

    /// For a watchpoint; `None` where the processor has none of that size or place.
    pub(super) fn watch(at: u64, size: u64, kind: WatchKind) -> Option<Self> {
        let fits = matches!(size, 1 | 2 | 4 | 8) && at.is_multiple_of(size);
        let access = match kind {
            WatchKind::Write => Access::Write,
            // It has none for reads alone.
            WatchKind::Read | WatchKind::ReadWrite => Access::ReadWrite,
        };
        fits.then_some(Self { at, size, access })
    }
}

/// All four.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots(pub(super) [Option<Slot>; HARDWARE]);

impl Slots {
    /// DR0 to DR3.
    pub(super) fn addresses(&self) -> [u64; HARDWARE] {
        self.0.map(|slot| slot.map_or(0, |slot| slot.at))
    }

    /// DR7: each that is used is enabled (Gn) with its access and size; 0 where none is.
    pub(super) fn control(&self) -> u64 {
        let one = |(i, slot): (usize, &Option<Slot>)| {
            let slot = (*slot)?;
            let size = match slot.size {
                1 => 0,
                2 => 1,
                8 => 2,
                _ => 3,
            };
            Some(2 << (2 * i) | (slot.access as u64 | size << 2) << (16 + 4 * i))
        };
        let used = self.0.iter().enumerate().filter_map(one).fold(0, |all, one| all | one);
        // Bit 10 is always 1, and bit 9 (GE) is as the manual recommends.
        if used == 0 { 0 } else { used | 1 << 10 | 1 << 9 }
    }

    /// Takes one that is free; whether there was one.
    pub(super) fn add(&mut self, slot: Slot) -> bool {
        if self.0.contains(&Some(slot)) {
            return true;
        }
        let free = self.0.iter_mut().find(|it| it.is_none());
        free.map(|it| *it = Some(slot)).is_some()
    }

    /// Gives it back; whether it was there.
    pub(super) fn remove(&mut self, slot: Slot) -> bool {
        let found = self.0.iter_mut().find(|it| **it == Some(slot));
        found.map(|it| *it = None).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Slot, Slots};
    use gdbstub::target::ext::breakpoints::WatchKind;

    #[test]
    fn the_control_word_is_the_manuals() {
        let mut slots = Slots::default();
        assert_eq!(slots.control(), 0);
        assert!(slots.add(Slot::execute(0x1000)));
        assert_eq!(slots.control(), 0x602);
        let watch = Slot::watch(0x8000, 4, WatchKind::Write).expect("aligned");
        assert!(slots.add(watch));
        assert_eq!(slots.control(), 0x602 | 0x8 | 0xd << 20);
        assert_eq!(slots.addresses(), [0x1000, 0x8000, 0, 0]);
        assert!(slots.add(Slot::execute(1)) && slots.add(Slot::execute(2)));
        assert!(!slots.add(Slot::execute(3)), "there are four");
        assert!(slots.remove(watch) && !slots.remove(watch));
        assert!(slots.add(Slot::execute(3)));
    }

    #[test]
    fn what_the_processor_cannot_watch_is_refused() {
        for (at, size) in [(1, 2), (4, 8), (0, 3), (0, 16), (0, 0), (u64::MAX, 8)] {
            assert_eq!(Slot::watch(at, size, WatchKind::Write), None, "{at:#x} {size}");
        }
    }
}
