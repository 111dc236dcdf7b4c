//! Where the guest is held: how far it goes, breakpoints, and memory that is watched.

use super::{INVALID, NO_MEMORY_THERE, Target};
use crate::drive::{Pace, Turn};
use crate::gdb::hardware::{Access, Slot, Slots};
use gdbstub::common::Signal;
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::target::ext::base::singlethread::{
    SingleThreadRangeStepping, SingleThreadRangeSteppingOps, SingleThreadResume,
    SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::{TargetError, TargetResult};
use portcall::{Error, Gva};
use std::ops::Range;

/// A number of an error as gdb shows it (errno(3)).
const NO_ROOM: u8 = 28;

/// The most breakpoints that there are.
const BREAKPOINTS_MAX: usize = 1 << 16;

/// The most bytes that are watched by steps.
const WATCHED_MAX: usize = 64;

/// What the client has said that the guest does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Going {
    Run,
    Step,
    /// Steps as long as it is there.
    Within(Range<u64>),
}

/// Memory that is looked at after each step.
#[derive(Debug)]
pub(super) struct Watch {
    at: u64,
    /// What stood there last.
    seen: Vec<u8>,
}

impl Target<'_, '_> {
    /// Lets the guest do one thing; why it is held, if it is.
    pub(in super::super) fn turn(&mut self) -> Result<Option<SingleThreadStopReason<u64>>, Error> {
        let pace = match self.going {
            Going::Run if self.watches.is_empty() => Pace::Run,
            _ => Pace::Step,
        };
        let turn = self.drive.turn(pace)?;
        self.why(turn)
    }

    /// What a turn is to the client.
    pub(in super::super) fn why(
        &mut self,
        turn: Turn,
    ) -> Result<Option<SingleThreadStopReason<u64>>, Error> {
        if let Some(addr) = self.written() {
            return Ok(Some(SingleThreadStopReason::Watch {
                tid: (),
                kind: WatchKind::Write,
                addr,
            }));
        }
        Ok(match turn {
            Turn::Breakpoint(_) => Some(SingleThreadStopReason::SwBreak(())),
            Turn::Hardware(which) => Some(self.hardware(which)),
            Turn::Stepped => match &self.going {
                Going::Run => None,
                Going::Step => Some(SingleThreadStopReason::DoneStep),
                Going::Within(range) => {
                    let range = range.clone();
                    let rip = self.vm().registers()?.rip;
                    (!range.contains(&rip)).then_some(SingleThreadStopReason::DoneStep)
                }
            },
            Turn::End(end) => {
                self.over = Some(end);
                None
            }
            Turn::Exit(_) | Turn::Interrupted => None,
        })
    }

    /// Which of the processor's own it was.
    fn hardware(&self, which: u64) -> SingleThreadStopReason<u64> {
        let slot = self.slots.0.get(which.trailing_zeros() as usize).copied().flatten();
        match slot.map(|it| (it.access, it.at)) {
            Some((Access::Write, addr)) => {
                SingleThreadStopReason::Watch { tid: (), kind: WatchKind::Write, addr }
            }
            Some((Access::ReadWrite, addr)) => {
                SingleThreadStopReason::Watch { tid: (), kind: WatchKind::ReadWrite, addr }
            }
            _ => SingleThreadStopReason::HwBreak(()),
        }
    }

    /// The first watched address whose memory is another than before.
    fn written(&mut self) -> Option<u64> {
        let mut watches = std::mem::take(&mut self.watches);
        let mut found = None;
        for watch in &mut watches {
            let mut now = vec![0; watch.seen.len()];
            if self.read(watch.at, &mut now) == now.len() && now != watch.seen {
                watch.seen = now;
                found = found.or(Some(watch.at));
            }
        }
        self.watches = watches;
        found
    }

    /// What of the host's own an address is in, where a byte more or less is no breakpoint.
    fn hosts_own(&mut self, at: u64) -> Option<&'static str> {
        let gpa = self.space(|space| space.translate(at))?.0;
        let layout = self.vm().layout();
        let own = [
            (&layout.tables, "the page tables"),
            (&layout.descriptors, "the descriptor tables"),
            (&layout.stubs, "the exception stubs"),
        ];
        own.into_iter().find(|(range, _)| range.contains(&gpa)).map(|(_, what)| what)
    }

    /// The processor's own breakpoints, as they are now.
    fn set_hardware(&mut self) -> TargetResult<bool, Self> {
        let (addresses, control) = (self.slots.addresses(), self.slots.control());
        let set = self.drive.set_hardware(addresses, control);
        set.map(|()| true).map_err(|_| TargetError::Errno(INVALID))
    }

    fn add_hardware(&mut self, slot: Slot) -> TargetResult<bool, Self> {
        if !self.slots.add(slot) {
            return Err(TargetError::Errno(NO_ROOM));
        }
        let set = self.set_hardware();
        if set.is_err() {
            self.slots.remove(slot);
        }
        set
    }

    /// No breakpoint or watchpoint is left.
    pub(in super::super) fn release(&mut self) -> Result<(), Error> {
        self.slots = Slots::default();
        self.watches.clear();
        self.drive.release()
    }
}

impl SingleThreadResume for Target<'_, '_> {
    fn resume(&mut self, _: Option<Signal>) -> Result<(), Error> {
        self.going = Going::Run;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<SingleThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Target<'_, '_> {
    fn step(&mut self, _: Option<Signal>) -> Result<(), Error> {
        self.going = Going::Step;
        Ok(())
    }
}

impl SingleThreadRangeStepping for Target<'_, '_> {
    fn resume_range_step(&mut self, start: u64, end: u64) -> Result<(), Error> {
        self.going = if start < end { Going::Within(start..end) } else { Going::Step };
        Ok(())
    }
}

impl Breakpoints for Target<'_, '_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Target<'_, '_> {
    fn add_sw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        if self.breakpoints.len() >= BREAKPOINTS_MAX {
            return Err(TargetError::Errno(NO_ROOM));
        }
        if self.over.is_some() {
            // Nothing of it would ever be reached.
            return Ok(true);
        }
        if let Some(what) = self.hosts_own(addr) {
            self.say(&format!(
                "{addr:#x} is in {what}, which the host has made for the processor: an INT3 there \
                 would be the guest's end, and is not set"
            ));
            return Err(TargetError::Errno(INVALID));
        }
        let set = self.drive.scene().insert(Gva(addr));
        set.map_err(|_| TargetError::Errno(NO_MEMORY_THERE))?;
        self.breakpoints.insert(addr);
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        // At the end it is gone already.
        self.drive.scene().remove(Gva(addr));
        self.breakpoints.remove(&addr);
        Ok(true)
    }
}

impl HwBreakpoint for Target<'_, '_> {
    fn add_hw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        if !self.ability.execute {
            self.say("this KVM does no hardware breakpoints in this ring; break does it");
            return Ok(false);
        }
        self.add_hardware(Slot::execute(addr))
    }

    fn remove_hw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        self.slots.remove(Slot::execute(addr));
        self.set_hardware()
    }
}

impl HwWatchpoint for Target<'_, '_> {
    fn add_hw_watchpoint(
        &mut self,
        addr: u64,
        len: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        if self.ability.watch
            && let Some(slot) = Slot::watch(addr, len, kind)
        {
            return self.add_hardware(slot);
        }
        if kind != WatchKind::Write {
            self.say("this KVM watches no reads; watch does writes");
            return Ok(false);
        }
        let watched: usize = self.watches.iter().map(|watch| watch.seen.len()).sum();
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        if size == 0 || watched.saturating_add(size) > WATCHED_MAX {
            return Err(TargetError::Errno(NO_ROOM));
        }
        let mut seen = vec![0; size];
        if self.read(addr, &mut seen) < size {
            return Err(TargetError::Errno(NO_MEMORY_THERE));
        }
        self.watches.push(Watch { at: addr, seen });
        Ok(true)
    }

    fn remove_hw_watchpoint(
        &mut self,
        addr: u64,
        len: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        let is_it = |watch: &Watch| watch.at == addr && watch.seen.len() as u64 == len;
        if let Some(found) = self.watches.iter().position(is_it) {
            self.watches.remove(found);
            return Ok(true);
        }
        if let Some(slot) = Slot::watch(addr, len, kind) {
            self.slots.remove(slot);
        }
        self.set_hardware()
    }
}
